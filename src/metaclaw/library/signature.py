"""The types that a code skill's function may have, as JSON Schema, and values checked against them. Pure.

Types come as syntax trees of annotations, values as read from JSON. A problem is told in words that complete a sentence
beginning with what it is about: "'day' must be an integer, not \"x\"".
"""

from __future__ import annotations

import ast
import contextlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]

PLAIN: Mapping[str, str] = {"int": "integer", "float": "number", "str": "string", "bool": "boolean"}
CALLED = {"integer": "an integer", "number": "a number", "string": "a string", "boolean": "true or false",
          "array": "a list", "object": "an object", "null": "null"}
KNOWN = "Known are int, float, str, bool, list[T], dict[str, T], T | None, Literal[...]."
INTEGER = re.compile(r"\s*[+-]?\d{1,4000}\s*", re.ASCII)


def of_type(node: ast.expr) -> Schema:
    """The JSON Schema of an annotation. ValueError for one that no JSON could fill."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):  # "int", written as text
        try:
            return of_type(ast.parse(node.value, mode="eval").body)
        except SyntaxError as error:
            raise ValueError(f"the type {node.value!r} is no type. {KNOWN}") from error
    if isinstance(node, ast.Constant) and node.value is None:
        return {"type": "null"}
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return _any_of(node.left, node.right)
    name = _name(node)
    if name in PLAIN:
        return {"type": PLAIN[name]}
    if isinstance(node, ast.Subscript):
        return _of_parts(_name(node.value), node.slice, node)
    if name in ("list", "List", "dict", "Dict"):
        raise ValueError(f"`{name}` does not say what is in it. Write list[str], dict[str, int] or the like.")
    raise ValueError(f"the type `{ast.unparse(node)}` cannot come from JSON. {KNOWN}")


def read_value(value: Any, schema: Schema) -> Any:
    """The value, brought to its type where that loses nothing. ValueError with what is wrong."""
    if "enum" in schema:
        fitting = [one for one in schema["enum"] if problem_with(value, {"enum": [one]}) is None]
        fitting += [one for one in schema["enum"] if str(value).strip().lower() == str(one).lower()]
        if fitting:
            return fitting[0]
    elif "anyOf" in schema:
        for one in sorted(schema["anyOf"], key=lambda one: problem_with(value, one) is not None):
            with contextlib.suppress(ValueError):
                return read_value(value, one)
    elif problem_with(value, schema) is None and schema["type"] not in ("array", "object", "number"):
        return value
    else:
        return _converted(value, schema)
    raise ValueError(problem_with(value, schema))


def problem_with(value: Any, schema: Schema) -> str | None:
    """What keeps the value from being of this type; None where it is."""
    if "enum" in schema:
        fits = any(value == allowed and type(value) is type(allowed) for allowed in schema["enum"])
        return None if fits else f"must be one of {', '.join(map(_shown, schema['enum']))}, not {_shown(value)}"
    if "anyOf" in schema:
        found = [problem_with(value, one) for one in schema["anyOf"]]
        told = " or ".join(str(one).removeprefix("must be ").partition(", not ")[0] for one in found)
        return None if None in found else f"must be {told}, not {_shown(value)}"
    kind = schema["type"]
    if not _is(value, kind):
        return f"must be {CALLED[kind]}, not {_shown(value)}"
    parts = enumerate(value) if kind == "array" else value.items() if kind == "object" else ()
    of_part = schema.get("items") or schema.get("additionalProperties")
    for key, part in parts:
        if of_part and (wrong := problem_with(part, of_part)):
            return f"at {_shown(key)} {wrong}"
    return None


def _is(value: Any, kind: str) -> bool:
    match kind:
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and _number(value) is not None
        case "object":
            return isinstance(value, dict) and all(isinstance(key, str) for key in value)
        case "null":
            return value is None
        case _:
            return isinstance(value, {"string": str, "boolean": bool, "array": list}[kind])


def _converted(value: Any, schema: Schema) -> Any:
    """A value that models write in another type than they were told."""
    kind = schema["type"]
    if kind in ("array", "object") and isinstance(value, str):
        try:
            value = json.loads(value)  # written as text once more
        except (ValueError, RecursionError):
            raise ValueError(problem_with(value, schema)) from None
    match kind, value:
        case "array", list() if "items" in schema:
            return [read_value(part, schema["items"]) for part in value]
        case "object", dict() if "additionalProperties" in schema:
            return {key: read_value(part, schema["additionalProperties"]) for key, part in value.items()}
        case "integer", float() if value.is_integer():
            return int(value)
        case "integer", str() if INTEGER.fullmatch(value):
            return int(value)
        case "number", int() | float() | str() if (number := _number(value)) is not None:
            return number
        case "boolean", str() if value.strip().lower() in ("true", "false"):
            return value.strip().lower() == "true"
        case "string", int() | float() if not isinstance(value, bool):
            return json.dumps(value)
    raise ValueError(problem_with(value, schema))


def _number(value: float | str) -> float | None:
    """A finite number, if the value is one or says one."""
    try:
        number = float(value)
    except (ValueError, OverflowError):  # not a number; an integer beyond every float
        return None
    return number if math.isfinite(number) and not isinstance(value, bool) else None


def _of_parts(name: str, part: ast.expr, whole: ast.expr) -> Schema:
    parts = part.elts if isinstance(part, ast.Tuple) else [part]
    match name:
        case "list" | "List" if len(parts) == 1:
            return {"type": "array", "items": of_type(parts[0])}
        case "dict" | "Dict" if len(parts) == 2:
            if _name(parts[0]) != "str":
                raise ValueError("the keys of a dict must be str, since JSON has no others.")
            return {"type": "object", "additionalProperties": of_type(parts[1])}
        case "Optional" if len(parts) == 1:
            return _any_of(parts[0], ast.Constant(None))
        case "Union":
            return _any_of(*parts)
        case "Literal":
            values = [_literal(one) for one in parts]
            return {"enum": values} | ({"type": "string"} if all(isinstance(one, str) for one in values) else {})
    raise ValueError(f"the type `{ast.unparse(whole)}` cannot come from JSON. {KNOWN}")


def _any_of(*nodes: ast.expr) -> Schema:
    found: list[Schema] = []
    for node in nodes:
        schema = of_type(node)
        found += [one for one in schema.get("anyOf", [schema]) if one not in found]
    return found[0] if len(found) == 1 else {"anyOf": found}


def _literal(node: ast.expr) -> Any:
    value = ast.literal_eval(node)
    if not isinstance(value, str | int | bool):
        raise ValueError(f"Literal[{ast.unparse(node)}] is neither text nor an integer nor a bool.")
    return value


def _name(node: ast.expr) -> str:
    """`list` of `list`, `Optional` of `typing.Optional`; empty for what is no name."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _shown(value: Any) -> str:
    """The value as JSON, cut short: it came from a model, and goes back to it."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = type(value).__name__
    return text if len(text) <= 80 else f"{text[:80]}..."
