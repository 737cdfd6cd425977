"""Codex: a provider of its own in `config.toml`, made the default one; the wire format `responses`."""

from __future__ import annotations

from metaclaw.connect.base import PROVIDER, ConfigFile, Endpoint, Places, Setting
from metaclaw.connect.formats import toml_text

NAME = "codex"
TITLE = "Codex"
PROGRAM = "codex"
NEEDS_MODEL = True  # for its own models it sends tools that only OpenAI's know; for any other, plain functions
NOTE = "A profile of your own that names another model_provider still wins over this."


def files(places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
    provider = {
        "name": "MetaClaw",
        "base_url": endpoint.openai,
        "wire_api": "responses",
        "experimental_bearer_token": endpoint.token,  # what `env_key` would take from a variable that nobody has set
    }
    settings = (
        Setting(("model",), endpoint.model),
        Setting(("model_provider",), PROVIDER),
        Setting(("model_providers", PROVIDER), provider),
    )
    return (ConfigFile(places.folder("CODEX_HOME", ".codex") / "config.toml", toml_text, settings),)
