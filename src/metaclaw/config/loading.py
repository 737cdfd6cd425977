"""Reads the settings: flags win over the environment, the environment over the file, the file over the defaults."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsError

from metaclaw.config.refusals import explain, refuse_unknown, refuse_unknown_environment
from metaclaw.config.settings import ENV_PREFIX, Settings
from metaclaw.errors import ConfigError


class _SettingsOfEnvironment(Settings):
    """The same tree, with the environment over what is given."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (env_settings, init_settings)


def load(file: Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings. `flags` is a nested mapping like the tree; it wins over the environment and the file.

    Without `file`, `METACLAW_CONFIG` names it, else `~/.metaclaw/config.toml` is read if it is there.
    Raises `ConfigError`, with the key at fault and, for an unknown one, its nearest known neighbour.
    """
    path, named = config_file(file)
    from_file = _read_toml(path, required=named)
    refuse_unknown(from_file, str(path) if named else "config.toml")
    refuse_unknown(flags or {}, "flags")
    refuse_unknown_environment()
    try:
        below = _SettingsOfEnvironment(**from_file)
        return Settings.model_validate(_merge(below.model_dump(), flags or {}))
    except ValidationError as error:
        raise ConfigError(explain(error)) from error
    except SettingsError as error:
        raise ConfigError(f"The environment cannot be used: {error}") from error


def config_file(file: Path | None = None) -> tuple[Path, bool]:
    """The file that `load` reads, and whether somebody named it, so that it must be there."""
    named = file or (Path(os.environ["METACLAW_CONFIG"]) if "METACLAW_CONFIG" in os.environ else None)
    return (named or Path("~/.metaclaw/config.toml")).expanduser(), named is not None


def sources(file: Path | None = None) -> dict[str, str]:
    """By dotted key, where its value comes from, for those that do not come from the defaults. Flags are not in it."""
    path, named = config_file(file)
    found = dict.fromkeys(_leaves(_read_toml(path, required=named)), str(path))
    for name, value in os.environ.items():
        if name.startswith(ENV_PREFIX) and name != "METACLAW_CONFIG":
            dotted = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            found |= dict.fromkeys(_leaves_of_variable(dotted, value), f"environment: {name}")
    return found


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def _leaves_of_variable(dotted: str, value: str) -> list[str]:
    """A variable may hold a whole section, as JSON."""
    try:
        tree = json.loads(value)
    except ValueError:
        return [dotted]
    return list(_leaves(tree, f"{dotted}.")) if isinstance(tree, dict) else [dotted]


def _read_toml(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.exists():
        if required:
            raise ConfigError(f"There is no configuration file {path}. Create it, or leave out --config.")
        return {}
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _merge(below: dict[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, Mapping) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged
