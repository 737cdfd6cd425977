"""opencode: a provider of its own in `opencode.json`, and its models as the default ones; the wire format `chat`."""

from __future__ import annotations

from pathlib import Path

from metaclaw.connect.base import PROVIDER, ConfigFile, Endpoint, Places, Setting
from metaclaw.connect.formats import json5_text

NAME = "opencode"
TITLE = "opencode"
PROGRAM = "opencode"
NEEDS_MODEL = True
NOTE = "An opencode.json in a project that names another model still wins over this."


def files(places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
    model = f"{PROVIDER}/{endpoint.model}"
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "MetaClaw",
        "options": {"baseURL": endpoint.openai, "apiKey": endpoint.token},
        "models": {str(endpoint.model): {"name": str(endpoint.model)}},
    }
    settings = (
        Setting(("$schema",), "https://opencode.ai/config.json", keep=True),  # opencode would write it in by itself
        Setting(("provider", PROVIDER), provider),
        Setting(("model",), model),
        Setting(("small_model",), model),  # titles and summaries; without it, they would go elsewhere
    )
    return (ConfigFile(_config(places), json5_text, settings),)


def _config(places: Places) -> Path:
    """What `OPENCODE_CONFIG` names, else the .jsonc where there is one: it is read last and wins over the .json."""
    if named := places.environment.get("OPENCODE_CONFIG"):
        return places.expanded(named)
    folder = places.folder("XDG_CONFIG_HOME", ".config") / "opencode"
    commented = folder / "opencode.jsonc"
    return commented if commented.exists() else folder / "opencode.json"
