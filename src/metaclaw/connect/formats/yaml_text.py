"""The format of YAML files: a `Format`, whose functions `formats.base` describes.

A library that keeps comments writes the rest in its own way: indentation, quotes, long lines. Here only the lines of
the setting change; where they are, PyYAML's events tell.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from metaclaw.connect.formats.base import MISSING, Entry, Step, value_at, with_value, without_value
from metaclaw.errors import ConnectError

NAME = "YAML"


@dataclass(frozen=True, slots=True)
class Node:
    """A value and where it stands. `kind` is 'mapping' or 'list' for one that is written over lines, else 'value'."""

    kind: str
    start: int
    end: int
    text: str = ""
    inside: tuple[Node, ...] = ()  # keys and values in turn, or the entries of a list


def read(text: str) -> Any:
    try:
        return yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConnectError(f"It is not valid YAML: {' '.join(str(error).split())}.") from error


def put(text: str, path: Sequence[Step], value: Any) -> str:
    node, document = _root(text), read(text)
    if document is None or node is None:
        return _ended(text) + _dump(with_value(None, path, value))
    if node.kind == "value":
        return _with_span(text, node.start, node.end, _dump(with_value(document, path, value)).rstrip("\n"))
    for depth, step in enumerate(path):
        item = _item(text, node, step)
        whole = with_value(_below(document, path[: depth + 1]), path[depth + 1 :], value)
        written = _dump({step: whole} if isinstance(step, str) else [whole])
        if item is None:
            return _appended(text, node, written)
        if item.value.kind != ("list" if _is_entry(path, depth + 1) else "mapping") or depth == len(path) - 1:
            return _with_span(text, item.start, item.value.end, _indented(written, item.column).strip())
        node = item.value
    raise AssertionError("a setting has a path")


def drop(text: str, path: Sequence[Step]) -> str:
    root = _root(text)
    if root is None or root.kind == "value":
        return _dump(without_value(read(text), path))
    node = root
    for step in path[:-1]:
        inner = _item(text, node, step)
        if inner is None or inner.value.kind == "value":
            return put(text, path[:-1], value_at(without_value(read(text), path), path[:-1]))
        node = inner.value
    if len(node.inside) == 1:  # the last entry of a list: an empty one stays
        return _with_span(text, node.start, node.end, "[]") if node is root else put(text, path[:-1], [])
    if len(node.inside) == 2 and node is not root:
        return put(text, path[:-1], {})
    item = _item(text, node, path[-1])
    if item is None:
        raise KeyError(path[-1])
    start = text.rfind("\n", 0, item.start) + 1
    end = text.find("\n", item.value.end)
    return text[:start] + (text[end + 1 :] if end >= 0 else "")


@dataclass(frozen=True, slots=True)
class _Item:
    """An entry of a mapping or a list: from its key or dash, at `column`."""

    start: int
    column: int
    value: Node


def _item(text: str, node: Node, step: Step) -> _Item | None:
    if isinstance(step, Entry):
        for entry in node.inside if node.kind == "list" else ():
            pairs = {key.text: value.text for key, value in _pairs(entry)}
            if pairs.get(step.key) == step.value:
                start = text.rfind("-", 0, entry.start)
                return _Item(start, _column(text, start), entry)
        return None
    for key, value in _pairs(node):
        if key.text == step:
            return _Item(key.start, _column(text, key.start), value)
    return None


def _pairs(node: Node) -> Iterator[tuple[Node, Node]]:
    return zip(node.inside[::2], node.inside[1::2], strict=True) if node.kind == "mapping" else iter(())


def _is_entry(path: Sequence[Step], depth: int) -> bool:
    return depth < len(path) and isinstance(path[depth], Entry)


def _below(document: Any, path: Sequence[Step]) -> Any:
    found = value_at(document, path)
    return None if found is MISSING else found


def _appended(text: str, node: Node, written: str) -> str:
    """An entry after the last one of a mapping or list, on a line of its own."""
    first = node.inside[0].start
    column = _column(text, text.rfind("-", 0, first) if node.kind == "list" else first)
    line_end = text.find("\n", node.end)
    at = len(text) if line_end < 0 else line_end + 1
    return _ended(text[:at]) + _indented(written, column) + text[at:]


def _with_span(text: str, start: int, end: int, written: str) -> str:
    return text[:start] + written + text[end:]


def _indented(written: str, column: int) -> str:
    return "".join(" " * column + line for line in written.splitlines(keepends=True))


def _column(text: str, at: int) -> int:
    return at - text.rfind("\n", 0, at) - 1


def _ended(text: str) -> str:
    return text if not text or text.endswith("\n") else text + "\n"


def _dump(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True, width=1_000_000)


def _root(text: str) -> Node | None:
    """The document as nodes; None for an empty one. Raises `ConnectError` for several documents in one file."""
    try:
        events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise ConnectError(f"It is not valid YAML: {' '.join(str(error).split())}.") from error
    if sum(isinstance(event, yaml.DocumentStartEvent) for event in events) > 1:
        raise ConnectError("It holds several YAML documents.")
    stream = (event for event in events if isinstance(event, yaml.NodeEvent | yaml.CollectionEndEvent))
    first = next(stream, None)
    return _node(first, stream, text) if first is not None else None


def _node(event: yaml.Event, events: Iterator[yaml.Event], text: str) -> Node:
    start, end = _index(event.start_mark), _index(event.end_mark)
    if isinstance(event, yaml.ScalarEvent):
        return Node("value", start, start + len(text[start:end].rstrip()), event.value)
    if not isinstance(event, yaml.CollectionStartEvent):
        return Node("value", start, end)  # an alias
    inside, closing = [], yaml.CollectionEndEvent
    while not isinstance(inner := next(events), closing):
        inside.append(_node(inner, events, text))
    if event.flow_style:
        return Node("value", start, _index(inner.end_mark))
    kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
    return Node(kind, start, max([end, *(node.end for node in inside)]), inside=tuple(inside))


def _index(mark: Any) -> int:
    return int(mark.index)
