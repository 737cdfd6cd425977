"""Claude Code: the environment that its settings hand it, in `settings.json`; the wire format `messages`."""

from __future__ import annotations

from metaclaw.connect.base import ConfigFile, Endpoint, Places, Setting
from metaclaw.connect.formats import json5_text

NAME = "claude-code"
TITLE = "Claude Code"
PROGRAM = "claude"
NEEDS_MODEL = False
NOTE = "An ANTHROPIC_BASE_URL in a project's own .claude/settings.json still wins over this."


def files(places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
    settings = places.folder("CLAUDE_CONFIG_DIR", ".claude") / "settings.json"
    environment = {"ANTHROPIC_BASE_URL": endpoint.url, "ANTHROPIC_AUTH_TOKEN": endpoint.token}
    if endpoint.model:
        environment["ANTHROPIC_MODEL"] = endpoint.model
    lines = tuple(Setting(("env", name), value) for name, value in environment.items())
    return (ConfigFile(settings, json5_text, lines),)
