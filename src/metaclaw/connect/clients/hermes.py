"""Hermes Agent: a custom endpoint as the model of `config.yaml`; the wire format `chat`."""

from __future__ import annotations

from metaclaw.connect.base import ConfigFile, Endpoint, Places, Setting
from metaclaw.connect.formats import yaml_text

NAME = "hermes"
TITLE = "Hermes Agent"
PROGRAM = "hermes"
NEEDS_MODEL = True
NOTE = "A CUSTOM_BASE_URL in the environment or in Hermes' .env still wins over this."


def files(places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
    model = {
        "default": endpoint.model,
        "provider": "custom",
        "base_url": endpoint.openai,
        "api_key": endpoint.token,
        "api_mode": "chat_completions",
    }
    settings = tuple(Setting(("model", name), value) for name, value in model.items())
    return (ConfigFile(places.folder("HERMES_HOME", ".hermes") / "config.yaml", yaml_text, settings),)
