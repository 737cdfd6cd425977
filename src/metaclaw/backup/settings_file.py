"""The settings file as it may leave this machine: without its secrets, and without the places that are only here.

In: the text of a settings file. Out: its text again, made anew from the values, since a secret may stand in a comment;
and the dotted keys that were left out.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from typing import Any, get_args

import tomlkit
from pydantic import BaseModel, SecretStr

from metaclaw.config.settings import Settings, section_of

ONLY_HERE = ("data_dir", "models_dir")


def without_secrets(text: str) -> tuple[str, tuple[str, ...]]:
    """Raises `ValueError` for what is no TOML."""
    kept, left_out = _cleaned(tomllib.loads(text), Settings, "")
    return tomlkit.dumps(kept), tuple(left_out)


def _cleaned(tree: Mapping[str, Any], model: type[BaseModel], prefix: str) -> tuple[dict[str, Any], list[str]]:
    kept: dict[str, Any] = {}
    left_out: list[str] = []
    for key, value in tree.items():
        field = model.model_fields.get(key)
        if field is None or _is_secret(field.annotation) or prefix + key in ONLY_HERE:  # what we do not know may be one
            left_out.append(prefix + key)
            continue
        section = section_of(field.annotation)
        if section and isinstance(value, Mapping):
            kept[key], more = _cleaned(value, section, f"{prefix}{key}.")
            left_out += more
        elif section and isinstance(value, list):
            rows = [_cleaned(one, section, f"{prefix}{key}[].") for one in value]
            kept[key] = [row for row, _ in rows]
            left_out += dict.fromkeys(name for _, more in rows for name in more)
        else:
            kept[key] = value
    return kept, left_out


def _is_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(_is_secret(one) for one in get_args(annotation))
