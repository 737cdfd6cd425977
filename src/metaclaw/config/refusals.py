"""Why settings are refused: unknown keys with their nearest known neighbour, and values in the words of their kind."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from metaclaw.config.settings import ENV_PREFIX, known_keys
from metaclaw.errors import ConfigError


def refuse_unknown(tree: Mapping[str, Any], source: str, prefix: str = "") -> None:
    known = set(known_keys())
    for key, value in tree.items():
        dotted = prefix + key
        if dotted not in known:
            raise ConfigError(f"Unknown setting '{dotted}' in {source}.{_nearest(dotted, known)}")
        for section in value if isinstance(value, list) else [value]:
            if isinstance(section, Mapping):
                refuse_unknown(section, source, f"{dotted}.")


def refuse_unknown_environment() -> None:
    known = set(known_keys())
    for name in os.environ:
        if name.startswith(ENV_PREFIX) and name != "METACLAW_CONFIG":
            dotted = name.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            if dotted not in known:
                raise ConfigError(f"Unknown setting in the environment: {name}.{_nearest(dotted, known)}")


def explain(error: ValidationError) -> str:
    lines = [": ".join(filter(None, [".".join(map(str, item["loc"])), _words(item)])) for item in error.errors()]
    return "These settings cannot be used:\n  " + "\n  ".join(lines)


def _nearest(key: str, known: set[str]) -> str:
    near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.5)
    return f" Did you mean '{near[0]}'?" if near else " See `metaclaw config show` for the known ones."


def _words(item: Any) -> str:
    if item["loc"] == ("upstreams",) and item["type"] == "list_type":
        return "write each as a table of its own: [[upstreams]]"
    return str(item["msg"]).removeprefix("Value error, ")
