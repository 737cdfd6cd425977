"""A document that a question asks for, what was delivered in its place, and how a fact is found in it.

Reading is lenient: a fact counts wherever its name stands, whatever the layout, so that only the rule at hand decides.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import PurePosixPath
from typing import Any, Literal

from metaclaw.bench.workdays.facts import Field

Format = Literal["json", "md", "csv", "txt"]
Files = Mapping[str, str]
MOST_LEVELS = 20  # of a JSON document; deeper ones are nobody's honest answer


@dataclass(frozen=True, slots=True)
class Edit:
    """One line of an existing file that shall become another."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Document:
    """What is wanted: a new file of `format` with `fields` and `items`, or, where `edit` is set, a changed one."""

    kind: str
    title: str
    format: Format
    day: date
    number: int
    fields: tuple[Field, ...] = ()
    items: tuple[tuple[str, int], ...] = ()
    edit: Edit | None = None

    @property
    def words(self) -> list[str]:
        return [*self.title.split(), *self.kind.split()]


@dataclass(frozen=True, slots=True)
class Delivery:
    """The file that was delivered for a document, and the workspace before and after."""

    path: str
    text: str
    before: Files
    after: Files

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines() if line.strip()]


def delivered(document: Document, before: Files, after: Files) -> Delivery | None:
    """What was delivered: a new or changed file of the document's format, a complete one before others; else None.

    An edit is answered only by the file itself, if an agent's program has not deleted it before.
    """
    changed = [path for path in sorted(after) if before.get(path) != after[path]]
    if document.edit:
        fitting = [path for path in changed if path == document.edit.path and path in before]
    else:
        fitting = [path for path in changed if PurePosixPath(path).suffix == f".{document.format}"]
    found = [Delivery(path, after[path], before, after) for path in fitting]
    return next((got for got in found if complete(document, got)), found[0] if found else None)


def complete(document: Document, got: Delivery) -> bool:
    """Whether every field has a value and every item is named; of an edit, whether that line changed and no other."""
    text = got.text
    if document.edit:
        return text.split() == got.before[got.path].replace(document.edit.old, document.edit.new).split()
    if document.format == "json" and parsed(text) is None:
        return False
    fields = all(value_of(document.format, text, field.name) is not None for field in document.fields)
    return fields and all(name in text.lower() for name, _ in document.items)


def value_of(written_as: Format, text: str, name: str) -> str | None:
    """What stands for the field `name`, as text; None where it is not there."""
    if written_as == "json":
        found = (value for key, value in _pairs(parsed(text), MOST_LEVELS) if _plain(key) == _plain(name))
        return next(map(_text, found), None)
    words = r"[\s_-]*".join(map(re.escape, name.split()))
    for line in text.splitlines():
        bold = re.match(rf"^\W*\*\*{words}(?::\*\*|\*\*\s*:)\s*(.*)$", line, re.IGNORECASE)
        usual = re.match(rf"^[^A-Za-z0-9]*{words}[\"'`]?\s*[:=,;|\t~^]\s*(.*)$", line, re.IGNORECASE)
        if found_here := bold or usual:
            return found_here.group(1).strip().strip('"`').rstrip("|").strip()
    return None


def parsed(text: str) -> dict[str, Any] | None:
    """The JSON object that a text is; None where it is none."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _pairs(value: Any, levels: int) -> Iterator[tuple[str, Any]]:
    """Every key of a JSON value with what it holds, outer ones first, down to so many levels."""
    if isinstance(value, dict):
        yield from value.items()
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in inner if levels else ():
        yield from _pairs(part, levels - 1)


def _plain(key: str) -> str:
    return re.sub(r"[^a-z0-9]", "", key.lower())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
