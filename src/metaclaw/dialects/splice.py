"""Change a value inside a JSON document without touching any other byte.

In: the document's bytes, already known to be valid JSON, and a path of keys and indexes. Out: where the value stands,
or the document with some spans replaced. Blanks, escapes, the order of keys and unknown fields stay as the client wrote
them. Where a key occurs twice, the last one counts, as for `json.loads`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

VALUE = json.JSONDecoder().raw_decode  # the value at a place, and where it ends: read in C, many times faster than here
COLON = re.compile(rb"[ \t\r\n]*:")
ESCAPED_LETTER = re.compile(rb"\\u00[4-7]")  # a key may be spelt so
BLANKS = frozenset(" \t\r\n")


class Span(NamedTuple):
    """From `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Edit:
    span: Span
    text: bytes


def find(document: bytes, path: Sequence[str | int]) -> Span | None:
    """Where the value at `path` stands; None where there is none."""
    text = document.decode("latin-1")  # a character a byte: what is found in it stands there in the document
    return _walk(text, _after_blank(text, 0), path)


def _walk(text: str, start: int, path: Sequence[str | int]) -> Span | None:
    """From the value that begins at `start`."""
    if not path:
        return Span(start, _end_of_value(text, start))
    found = None
    for step in path:
        found = _member(text, start, step) if isinstance(step, str) else _element(text, start, step)
        if found is None:
            return None
        start = found.start
    return found if found is None or found.end else Span(start, _end_of_value(text, start))


def apply(document: bytes, edits: Sequence[Edit]) -> bytes:
    """The document with every edit made; their spans must not overlap."""
    pieces, at = [], 0
    for edit in sorted(edits, key=lambda one: one.span.start):
        pieces += [document[at : edit.span.start], edit.text]
        at = edit.span.end
    return b"".join([*pieces, document[at:]])


def insert(document: bytes, path: Sequence[str | int], text: bytes) -> Edit:
    """`text` right behind the opening bracket of the object or array at `path`."""
    start = _found(document, path).start + 1
    return Edit(Span(start, start), text)


def append(document: bytes, path: Sequence[str | int], text: bytes) -> Edit:
    """`text` right before the closing quote or bracket of the value at `path`."""
    end = _found(document, path).end - 1
    return Edit(Span(end, end), text)


def behind(document: bytes, path: Sequence[str | int], text: bytes) -> Edit:
    """`text` right behind the value at `path`."""
    end = _found(document, path).end
    return Edit(Span(end, end), text)


def replace(document: bytes, path: Sequence[str | int], text: bytes) -> Edit:
    return Edit(_found(document, path), text)


def set_member(document: bytes, key: str, value: object) -> Edit:
    """The value of `key` in the outermost object: replaced, or put in front where there is none."""
    if find(document, [key]) is None:
        return insert(document, [], encode(key) + b": " + encode(value) + b", ")
    return replace(document, [key], encode(value))


def _found(document: bytes, path: Sequence[str | int]) -> Span:
    """Raises `KeyError` where there is no such value. The first key of the path must be there."""
    lone = _lone_member(document, path[0]) if path and isinstance(path[0], str) else None
    if lone is None:
        span = find(document, path)
    else:
        text = document.decode("latin-1")
        span = _walk(text, _after_blank(text, lone), path[1:])
    if span is None:
        raise KeyError(".".join(map(str, path)))
    return span


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def _lone_member(document: bytes, key: str) -> int | None:
    """Behind the colon of the only key of this name, where there is one such key and it is spelt plainly; else None.

    As the outermost object holds the key, that one is its. Finding it so costs a search, not the reading of everything.
    What looks like it inside a string has an escaped quote before it or behind it, or no colon after it.
    """
    spelt, at, found = encode(key), -1, None
    while (at := document.find(spelt, at + 1)) >= 0:
        if colon := COLON.match(document, at + len(spelt)):
            if found is not None:
                return None
            found = colon.end()
    return None if ESCAPED_LETTER.search(document) else found


def _member(text: str, start: int, key: str) -> Span | None:
    found = None
    for name, value in _members(text, start):
        if name == key:
            found = value
    return found


def _members(text: str, start: int) -> Iterator[tuple[str, Span]]:
    """Names and values of the object that begins at `start`; none where something else does."""
    at = _after_blank(text, start + 1) if text[start : start + 1] == "{" else len(text)
    while text[at : at + 1] == '"':
        name, end = VALUE(text, at)
        value_start = _after_blank(text, _after_blank(text, end) + 1)  # past the colon
        value = Span(value_start, _end_of_value(text, value_start))
        yield name, value
        at = _after_blank(text, _after_blank(text, value.end) + 1)  # past the comma or the brace


def _element(text: str, start: int, index: int) -> Span | None:
    at = _after_blank(text, start + 1) if text[start : start + 1] == "[" else len(text)
    while text[at : at + 1] not in ("]", ""):
        if index == 0:
            return Span(at, 0)  # its end is read where it is asked for
        index -= 1
        at = _after_blank(text, _end_of_value(text, at))
        if text[at : at + 1] == ",":
            at = _after_blank(text, at + 1)
    return None


def _end_of_value(text: str, start: int) -> int:
    return VALUE(text, start)[1]


def _after_blank(text: str, at: int) -> int:
    while text[at : at + 1] in BLANKS:
        at += 1
    return at
