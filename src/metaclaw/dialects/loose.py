"""Parts of a document of unknown shape, read without stumbling: what is not as it should be counts as absent."""

from __future__ import annotations

from typing import Any


def dict_of(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def dicts_of(value: Any) -> list[dict[str, Any]]:
    """The objects in a list."""
    return [one for one in list_of(value) if isinstance(one, dict)]


def list_of(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def string_of(value: Any) -> str:
    return value if isinstance(value, str) else ""


def count_of(value: Any, *path: str) -> int:
    """The whole number that stands at `path` inside `value`; 0 where there is none."""
    for name in path:
        value = dict_of(value).get(name)
    return value if isinstance(value, int) else 0
