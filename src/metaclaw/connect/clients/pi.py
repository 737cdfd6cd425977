"""pi: a provider of its own in `models.json`, made the default one in `settings.json`; the wire format `chat`."""

from __future__ import annotations

from metaclaw.connect.base import PROVIDER, ConfigFile, Endpoint, Places, Setting
from metaclaw.connect.formats import json5_text

NAME = "pi"
TITLE = "pi"
PROGRAM = "pi"
NEEDS_MODEL = True
NOTE = "A .pi/settings.json in a project that names another provider still wins over this."


def files(places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
    folder = places.folder("PI_CODING_AGENT_DIR", ".pi/agent")
    provider = {
        "baseUrl": endpoint.openai,
        "api": "openai-completions",
        "apiKey": endpoint.token,
        "models": [{"id": endpoint.model}],
    }
    defaults = (Setting(("defaultProvider",), PROVIDER), Setting(("defaultModel",), endpoint.model))
    return (
        ConfigFile(folder / "models.json", json5_text, (Setting(("providers", PROVIDER), provider),)),
        ConfigFile(folder / "settings.json", json5_text, defaults),
    )
