"""OpenClaw: a provider of its own in `openclaw.json`, made the agents' default; the wire format `chat`."""

from __future__ import annotations

from pathlib import Path

from metaclaw.connect.base import PROVIDER, ConfigFile, Endpoint, Places, Setting
from metaclaw.connect.formats import json5_text

NAME = "openclaw"
TITLE = "OpenClaw"
PROGRAM = "openclaw"
NEEDS_MODEL = True
NOTE = "Agents with a model of their own keep it; a running OpenClaw reads the change by itself."


def files(places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
    provider = {
        "baseUrl": endpoint.openai,
        "apiKey": endpoint.token,
        "api": "openai-completions",
        "models": [{"id": endpoint.model, "name": endpoint.model}],
    }
    settings = (
        Setting(("models", "providers", PROVIDER), provider),
        Setting(("agents", "defaults", "model", "primary"), f"{PROVIDER}/{endpoint.model}"),
    )
    return (ConfigFile(_config(places), json5_text, settings),)


def _config(places: Places) -> Path:
    """`OPENCLAW_CONFIG_PATH`, or `openclaw.json` in the state folder, which a profile or `OPENCLAW_HOME` moves."""
    environment = places.environment
    if named := environment.get("OPENCLAW_CONFIG_PATH"):
        return places.expanded(named)
    profile = environment.get("OPENCLAW_PROFILE", "")
    state = f".openclaw-{profile}" if profile and profile != "default" else ".openclaw"
    home = places.folder("OPENCLAW_HOME", "")
    return places.folder("OPENCLAW_STATE_DIR", str(home / state)) / "openclaw.json"
