"""aider: its model and OpenAI base in `.aider.conf.yml` of the home folder; the wire format `chat`."""

from __future__ import annotations

from metaclaw.connect.base import ConfigFile, Endpoint, Places, Setting
from metaclaw.connect.formats import yaml_text

NAME = "aider"
TITLE = "aider"
PROGRAM = "aider"
NEEDS_MODEL = True
NOTE = "An .aider.conf.yml in a repository, and AIDER_ variables, still win over this."


def files(places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
    settings = (
        Setting(("model",), f"openai/{endpoint.model}"),
        Setting(("openai-api-base",), endpoint.openai),
        Setting(("openai-api-key",), endpoint.token),
    )
    return (ConfigFile(places.home / ".aider.conf.yml", yaml_text, settings),)
