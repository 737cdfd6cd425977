"""The format of JSON files with or without comments: a `Format`, whose functions `formats.base` describes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from metaclaw.connect.formats import json5_syntax
from metaclaw.connect.formats.base import Step, with_value
from metaclaw.connect.formats.json5_syntax import Member, Node
from metaclaw.errors import ConnectError

NAME = "JSON"
UNIT = "  "


def read(text: str) -> Any:
    return json5_syntax.parse(text).value if text.strip() else None


def put(text: str, path: Sequence[Step], value: Any) -> str:
    if not text.strip():
        return json.dumps(with_value(None, path, value), indent=2) + "\n"
    node = json5_syntax.parse(text)
    for depth, step in enumerate(path):
        if node.members is None:
            return _replaced(text, node, with_value(None, path[depth:], value))
        member = _member(node, step)
        if member is None:
            return _inserted(text, node, str(step), with_value(None, path[depth + 1 :], value))
        node = member.node
    return _replaced(text, node, value)


def drop(text: str, path: Sequence[Step]) -> str:
    node = _at(json5_syntax.parse(text), path[:-1])
    while (member := _member(node, path[-1])) is not None:  # a key may stand there twice
        text = _without(text, node, member)
        node = _at(json5_syntax.parse(text), path[:-1])
    return text


def _at(node: Node, path: Sequence[Step]) -> Node:
    for step in path:
        member = _member(node, step)
        if member is None:
            raise KeyError(step)
        node = member.node
    return node


def _member(node: Node, step: Step) -> Member | None:
    """The member by that name; the last one counts, as for every reader of JSON."""
    if not isinstance(step, str):
        raise ConnectError("Entries of JSON lists cannot be edited.")
    return next((member for member in reversed(node.members or ()) if member.key == step), None)


def _replaced(text: str, node: Node, value: Any) -> str:
    return text[: node.start] + _dumped(value, _indent_at(text, node.start), _unit(text)) + text[node.end :]


def _inserted(text: str, node: Node, key: str, value: Any) -> str:
    """A member at the end of an object: on a line of its own where the object has lines or is empty."""
    close = node.end - 1
    members = node.members or ()
    last = members[-1] if members else None
    trailing = last is not None and last.comma is not None
    if last and "\n" not in text[node.start : close]:
        at, lead, tail = len(text[:close].rstrip()), " ", ""
        written = f"{json.dumps(key)}: {json.dumps(value)}"
    else:
        outer = _indent_at(text, node.start)
        indent = _own_line(text, members[0].start) if members else None
        indent = outer + _unit(text) if indent is None else indent
        at = len(text[:close].rstrip()) if "\n" in text[node.start : close] else node.start + 1
        lead, tail = f"\n{indent}", "" if "\n" in text[at:close] else f"\n{outer}"
        written = f"{json.dumps(key)}: {_dumped(value, indent, _unit(text))}"
    comma_at = last.node.end if last and not trailing else None
    ending = "," if trailing else ""
    before = text[:at] if comma_at is None else f"{text[:comma_at]},{text[comma_at:at]}"
    return before + lead + written + ending + tail + text[at:]


def _without(text: str, node: Node, member: Member) -> str:
    """The text without a member, its comma, and the line that nothing else is on."""
    members = node.members or ()
    before = members[members.index(member) - 1] if member != members[0] else None
    start, end = member.start, member.node.end if member.comma is None else member.comma + 1
    head, tail = text[:start], text[end:]
    line_start, rest = head.rpartition("\n")[2], tail.partition("\n")
    if not line_start.strip() and not rest[0].strip() and rest[1]:
        head, tail = head[: len(head) - len(line_start)], rest[2]
    elif member.comma is not None:
        tail = tail.lstrip(" \t")
    if member.comma is None and before is not None and before.comma is not None:
        head = head[: before.comma] + head[before.comma + 1 :]
    return head + tail


def _dumped(value: Any, indent: str, unit: str) -> str:
    """The value over several lines; all but the first begin with `indent`."""
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", f"\n{indent}")


def _indent_at(text: str, at: int) -> str:
    """The blanks that the line of this place begins with."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line[: len(line) - len(line.lstrip(" \t"))] if line.strip() else line


def _own_line(text: str, at: int) -> str | None:
    """The blanks before this place, if its line has nothing else before it."""
    line = text[text.rfind("\n", 0, at) + 1 : at]
    return line if not line.strip(" \t") else None


def _unit(text: str) -> str:
    """One step of indentation, as the first indented line has it."""
    found = re.search(r"^([ \t]+)[\"'\w]", text, re.MULTILINE)
    return found[1] if found else UNIT
