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

BLANK = re.compile(rb"[ \t\r\n]*")
STRING = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
SCALAR = re.compile(rb'[^ \t\r\n,\]}"]+')
BRACKET = re.compile(rb'"(?:[^"\\]|\\.)*"|[][{}]', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Span:
    """From `start` up to, not including, `end`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Edit:
    span: Span
    text: bytes


def find(document: bytes, path: Sequence[str | int]) -> Span | None:
    """Where the value at `path` stands; None where there is none."""
    start = _after_blank(document, 0)
    for step in path:
        inner = _member(document, start, step) if isinstance(step, str) else _element(document, start, step)
        if inner is None:
            return None
        start = inner.start
    return Span(start, _end_of_value(document, start))


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
    """Raises `KeyError` where there is no such value."""
    span = find(document, path)
    if span is None:
        raise KeyError(".".join(map(str, path)))
    return span


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def _member(document: bytes, start: int, key: str) -> Span | None:
    if document[start : start + 1] != b"{":
        return None
    found = None
    for name, value in _members(document, start):
        if json.loads(document[name.start : name.end]) == key:
            found = value
    return found


def _members(document: bytes, start: int) -> Iterator[tuple[Span, Span]]:
    """Names and values of the object that begins at `start`."""
    at = _after_blank(document, start + 1)
    while document[at : at + 1] == b'"':
        name = Span(at, _end_of_value(document, at))
        value_start = _after_blank(document, _after_blank(document, name.end) + 1)  # past the colon
        value = Span(value_start, _end_of_value(document, value_start))
        yield name, value
        at = _after_blank(document, _after_blank(document, value.end) + 1)  # past the comma or the brace


def _element(document: bytes, start: int, index: int) -> Span | None:
    if document[start : start + 1] != b"[":
        return None
    at = _after_blank(document, start + 1)
    while document[at : at + 1] != b"]":
        value = Span(at, _end_of_value(document, at))
        if index == 0:
            return value
        index -= 1
        at = _after_blank(document, value.end)
        if document[at : at + 1] == b",":
            at = _after_blank(document, at + 1)
    return None


def _end_of_value(document: bytes, start: int) -> int:
    first = document[start : start + 1]
    if first in (b"{", b"["):
        return _end_of_nest(document, start)
    match = (STRING if first == b'"' else SCALAR).match(document, start)
    if match is None:
        raise ValueError(f"no JSON value at byte {start}")
    return match.end()


def _end_of_nest(document: bytes, start: int) -> int:
    depth = 0
    for token in BRACKET.finditer(document, start):
        if token.group() in (b"{", b"["):
            depth += 1
        elif token.group() in (b"}", b"]"):
            depth -= 1
            if depth == 0:
                return token.end()
    raise ValueError(f"the JSON value at byte {start} has no end")


def _after_blank(document: bytes, at: int) -> int:
    match = BLANK.match(document, at)
    return match.end() if match else at
