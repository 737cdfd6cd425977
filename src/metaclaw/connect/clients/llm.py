"""llm: a model of its own in `extra-openai-models.yaml`, its key, and that model as the default; the format `chat`."""

from __future__ import annotations

import sys
from pathlib import Path

from metaclaw.connect.base import PROVIDER, ConfigFile, Endpoint, Places, Setting
from metaclaw.connect.formats import json5_text, plain_text, yaml_text
from metaclaw.connect.formats.base import Entry

NAME = "llm"
TITLE = "llm"
PROGRAM = "llm"
NEEDS_MODEL = True
NOTE = "Templates and aliases that name another model keep it."


def files(places: Places, endpoint: Endpoint) -> tuple[ConfigFile, ...]:
    folder = _folder(places)
    model = {
        "model_id": PROVIDER,
        "model_name": endpoint.model,
        "api_base": endpoint.openai,
        "api_key_name": PROVIDER,
        "supports_tools": True,
        "supports_schema": True,
    }
    return (
        ConfigFile(
            folder / "extra-openai-models.yaml", yaml_text, (Setting((Entry("model_id", PROVIDER),), model),)
        ),
        ConfigFile(folder / "keys.json", json5_text, (Setting((PROVIDER,), endpoint.token),)),
        ConfigFile(folder / "default_model.txt", plain_text, (Setting((plain_text.VALUE,), PROVIDER),)),
    )


def _folder(places: Places) -> Path:
    if sys.platform == "darwin":
        return places.folder("LLM_USER_PATH", "Library/Application Support/io.datasette.llm")
    default = places.folder("XDG_CONFIG_HOME", ".config") / "io.datasette.llm"
    return places.folder("LLM_USER_PATH", str(default))
