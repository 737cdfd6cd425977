"""Write a document as somebody does who keeps to given rules: with all of them the oracle, with none a stranger.

Comes in: a document, the rules, and the workspace. Goes out: the files that are written or changed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from metaclaw.bench.workdays.documents import Document, Files
from metaclaw.bench.workdays.facts import Field
from metaclaw.bench.workdays.rules import Rule
from metaclaw.bench.workdays.shapes import Shape
from metaclaw.bench.workdays.values import VALUE_FAMILIES, Form


class Style:
    """The rules that a writer keeps to; what is revoked counts as not there."""

    def __init__(self, rules: Mapping[str, Rule]) -> None:
        held = [rule for rule in rules.values() if not rule.revoked]
        self._shapes = {rule.family: rule.form for rule in held if isinstance(rule.form, Shape)}
        self._forms = {VALUE_FAMILIES[rule.family][0]: rule.form for rule in held if isinstance(rule.form, Form)}

    def given(self, family: str, otherwise: Any) -> Any:
        """What the rule of this family gives a writer, or `otherwise`."""
        shape = self._shapes.get(family)
        return shape.given if shape else otherwise

    def value(self, field: Field) -> str:
        form = self._forms.get(field.kind)
        return form.show(field.value) if form else field.plain

    def shape(self, family: str) -> Shape | None:
        return self._shapes.get(family)


def write(document: Document, rules: Mapping[str, Rule], before: Files) -> dict[str, str]:
    """Every file that is new or changed afterwards, by path."""
    style = Style(rules)
    written = _edited(document, style, before) if document.edit else _created(document, style)
    if log := style.given("worklog", None):
        file, line = log
        written[file] = before.get(file, "") + line(document) + "\n"
    return written


def _edited(document: Document, style: Style, before: Files) -> dict[str, str]:
    assert document.edit  # noqa: S101 - the caller looked
    path = document.edit.path
    written = {path: before[path].replace(document.edit.old, document.edit.new)}
    if suffix := style.given("backup", ""):
        written[path + suffix] = before[path]
    return written


def _created(document: Document, style: Style) -> dict[str, str]:
    name = style.given("naming", lambda d: f"{d.title}.{d.format}")(document)
    folder = style.given("folder", lambda _: "")(document)
    items = sorted(document.items, key=style.given("order", lambda _: 0))
    text = {"json": _json, "md": _markdown, "csv": _csv}[document.format](document, style, items)
    return {f"{folder}/{name}" if folder else name: text}


Items = list[tuple[str, int]]


def _json(document: Document, style: Style, items: Items) -> str:
    key = style.given("keycase", lambda name: name)
    meta = style.given("metadata", None)
    content = {
        **({"meta": dict(meta)} if meta else {}),
        **{key(field.name): style.value(field) for field in document.fields},
        "entries": [{"name": name, "number": str(number)} for name, number in items],
    }
    return json.dumps(content, indent=style.given("indent", 2), ensure_ascii=False) + "\n"


def _markdown(document: Document, style: Style, items: Items) -> str:
    facts, entries = style.given("labels", ("Facts", "List"))
    mark = style.given("listmark", "-")
    meta, end = style.shape("metadata"), style.given("footer", None)
    lines = [
        *([meta.show(document), ""] if meta else []),
        style.given("heading", lambda d: f"# {d.title}")(document), "",
        f"## {facts}", "", *(f"{field.name}: {style.value(field)}" for field in document.fields), "",
        f"## {entries}", "", *(f"{mark} {name} {number}" for name, number in items),
        *(["", end(document)] if end else []),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _csv(document: Document, style: Style, items: Items) -> str:
    mark = style.given("delimiter", ",")
    meta = style.shape("metadata")
    rows = [("name", "value"), *((field.name, style.value(field)) for field in document.fields)]
    rows += [(name, str(number)) for name, number in items]
    lines = [*([meta.show(document)] if meta else []), *(mark.join(row) for row in rows)]
    return "\n".join(lines) + "\n"
