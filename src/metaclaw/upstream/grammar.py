"""A JSON schema as rules of a llama.cpp grammar (GBNF), to be used inside a larger one. Pure.

llama.cpp turns a schema into a grammar itself, but only for a reply that is JSON from end to end. Blanks are fixed as
Python's `json.dumps` writes them: a small model that may write blanks goes on writing them until its tokens run out.
What a schema says beyond shape (lengths, patterns, bounds) is not enforced, and properties come in the schema's order,
required ones first.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

BASICS = {
    "value": "object | array | string | number | boolean | null",
    "object": '"{" (string ": " value (", " string ": " value)*)? "}"',
    "array": '"[" (value (", " value)*)? "]"',
    "string": r'"\"" ([^"\\\x00-\x1f] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4}))* "\""',
    "integer": '"-"? ("0" | [1-9] [0-9]*)',
    "number": 'integer ("." [0-9]+)? ([eE] [-+]? [0-9]+)?',
    "boolean": '"true" | "false"',
    "null": '"null"',
}
ESCAPED = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"})


class Grammar:
    """Collects rules; `text` is the whole grammar once there is a rule named `root`."""

    def __init__(self) -> None:
        self.rules = dict(BASICS)

    def text(self) -> str:
        return "\n".join(f"{name} ::= {rule}" for name, rule in self.rules.items())

    def add(self, rule: str) -> str:
        """The name of a new rule."""
        name = f"rule{len(self.rules)}"
        self.rules[name] = rule
        return name

    def of(self, schema: Any) -> str:
        """The name of the rule that values of `schema` follow; any JSON value where it says nothing that we know."""
        return _Schema(self, schema).rule(schema)


class _Schema:
    """One document of a schema, in which references point."""

    def __init__(self, grammar: Grammar, document: Any) -> None:
        self._grammar = grammar
        self._document = document
        self._referred: dict[str, str] = {}

    def rule(self, schema: Any) -> str:
        if not isinstance(schema, dict):
            return "value"
        if isinstance(reference := schema.get("$ref"), str):
            return self._reference(reference)
        if "const" in schema:
            return self._any_of([literal(schema["const"])])
        if isinstance(values := schema.get("enum"), list) and values:
            return self._any_of(literal(value) for value in values)
        for key in ("anyOf", "oneOf"):
            if isinstance(schemas := schema.get(key), list) and schemas:
                return self._any_of(self.rule(one) for one in schemas)
        if isinstance(schemas := schema.get("allOf"), list) and len(schemas) == 1:
            return self.rule(schemas[0])
        return self._typed(schema)

    def _typed(self, schema: Mapping[str, Any]) -> str:
        kind = schema.get("type", "object" if "properties" in schema else None)
        if isinstance(kind, list) and kind:
            return self._any_of(self.rule({**schema, "type": one}) for one in kind)
        if kind == "object" and isinstance(properties := schema.get("properties"), dict) and properties:
            required = schema.get("required")
            return self._object(properties, required if isinstance(required, list) else [])
        if kind == "array" and "items" in schema:
            item = self.rule(schema["items"])
            return self._grammar.add(f'"[" ({item} (", " {item})*)? "]"')
        return kind if isinstance(kind, str) and kind in BASICS else "value"

    def _object(self, properties: Mapping[str, Any], required: Sequence[Any]) -> str:
        members = {name: f"{quoted(f'{json.dumps(name)}: ')} {self.rule(one)}" for name, one in properties.items()}
        must = [member for name, member in members.items() if name in required]
        may = [member for name, member in members.items() if name not in required]
        rest, firsts = '""', list[str]()
        for member in reversed(may):  # `rest` is what may follow once something stands before it
            firsts.insert(0, f"{member} {rest}")
            rest = self._grammar.add(f'(", " {member})? {rest}')
        inner = ' ", " '.join(must) + f" {rest}" if must else f"({' | '.join(firsts)})?"
        return self._grammar.add(f'"{{" {inner} "}}"')

    def _reference(self, reference: str) -> str:
        """A rule for what is referred to, which may refer to itself."""
        if reference not in self._referred:
            name = self._referred[reference] = self._grammar.add("value")
            self._grammar.rules[name] = self.rule(self._found(reference))
        return self._referred[reference]

    def _found(self, reference: str) -> Any:
        found = self._document
        for step in filter(None, reference.removeprefix("#").split("/")):
            found = found.get(step) if isinstance(found, dict) else None
        return found

    def _any_of(self, rules: Iterable[str]) -> str:
        return self._grammar.add(" | ".join(rules))


def literal(value: object) -> str:
    """The one text that stands for `value`."""
    return quoted(json.dumps(value, ensure_ascii=False))


def quoted(text: str) -> str:
    return f'"{text.translate(ESCAPED)}"'
