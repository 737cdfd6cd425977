"""What every file format offers (`Format`), and how a setting is found in one: a path of `Step`s.

A format is a module with these names at its top. All of them are pure: text in, text out. Text that cannot be read,
or has a shape that cannot be edited, raises `ConnectError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of a list that is a mapping with this key and value."""

    key: str
    value: str

    def __str__(self) -> str:
        return f"[{self.key}={self.value}]"


Step = str | Entry
MISSING = object()


class Format(Protocol):
    NAME: str

    def read(self, text: str) -> Any:
        """The document as values; None where it holds nothing."""

    def put(self, text: str, path: Sequence[Step], value: Any) -> str:
        """The document with `value` at `path`; what leads there is made where it is missing."""

    def drop(self, text: str, path: Sequence[Step]) -> str:
        """The document without what is at `path`, which is there."""


def value_at(document: Any, path: Sequence[Step]) -> Any:
    """What is at `path` in a document's values; `MISSING` where nothing is."""
    for step in path:
        document = _child(document, step)
        if document is MISSING:
            return MISSING
    return document


def with_value(document: Any, path: Sequence[Step], value: Any) -> Any:
    """The values with `value` at `path`: what `put` has to mean. Whatever is in the way gives way."""
    if not path:
        return value
    step, rest = path[0], path[1:]
    below = _child(document, step)
    inner = with_value(None if below is MISSING else below, rest, value)
    if isinstance(step, str):
        return {**(document if isinstance(document, Mapping) else {}), step: inner}
    entries = list(document) if isinstance(document, list) else []
    if below is MISSING:
        return [*entries, inner]
    return [inner if entry is below else entry for entry in entries]


def without_value(document: Any, path: Sequence[Step]) -> Any:
    """The values without what is at `path`: what `drop` has to mean."""
    step, rest = path[0], path[1:]
    below = _child(document, step)
    if not rest:
        if isinstance(step, str):
            return {key: value for key, value in document.items() if key != step}
        return [entry for entry in document if entry is not below]
    inner = without_value(below, rest)
    if isinstance(step, str):
        return {**document, step: inner}
    return [inner if entry is below else entry for entry in document]


def _child(document: Any, step: Step) -> Any:
    if isinstance(step, str):
        return document.get(step, MISSING) if isinstance(document, Mapping) else MISSING
    entries = document if isinstance(document, list) else []
    return next((e for e in entries if isinstance(e, Mapping) and e.get(step.key) == step.value), MISSING)
