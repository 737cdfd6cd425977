"""A schema's grammar takes what fits the schema, and nothing of another shape."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.upstream.grammar import Grammar, literal

TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|\[(?:[^\]\\]|\\.)*\]|[A-Za-z][\w-]*|[()|?*+]|\{\d+\}')


def takes(schema: Any, text: str) -> bool:
    """Whether the grammar of `schema` matches all of `text`: its rules as a recursive regular expression."""
    grammar = Grammar()
    grammar.rules["root"] = grammar.of(schema)
    rules = "".join(f"(?P<{name}>{_pattern(rule)})" for name, rule in grammar.rules.items())
    return regex.fullmatch(f"(?(DEFINE){rules})(?&root)", text) is not None


def _pattern(rule: str) -> str:
    return "".join(_piece(token) for token in TOKEN.findall(rule))


def _piece(token: str) -> str:
    if token.startswith('"'):
        return f"(?:{re.escape(json.loads(token))})"  # the escapes that we write are JSON's
    return f"(?&{token})" if token[0].isalpha() else token


NUMBER = st.one_of(st.integers(), st.floats(allow_nan=False, allow_infinity=False))
LEAF = st.one_of(st.none(), st.booleans(), NUMBER, st.text(max_size=5))
ANY = st.recursive(
    LEAF, lambda one: st.one_of(st.lists(one, max_size=2), st.dictionaries(st.text(max_size=3), one, max_size=2))
)


@given(ANY, st.booleans())
def test_any_json_is_a_value(value: Any, ascii_only: bool) -> None:
    assert takes({}, json.dumps(value, ensure_ascii=ascii_only))


PERSON: dict[str, Any] = {
    "type": "object", "required": ["name", "born"],
    "properties": {
        "name": {"type": "string"},
        "nick": {"type": ["string", "null"]},
        "born": {"anyOf": [{"type": "integer"}, {"const": "unknown"}]},
        "tags": {"type": "array", "items": {"enum": ["a", 'q"\\', 3]}},
        "home": {"type": "object", "properties": {"city": {"type": "string"}, "zip": {"type": "number"}}},
        "parent": {"$ref": "#"},
        "pet": {"allOf": [{"$ref": "#/$defs/pet"}]},
        "more": {"type": "object"},
    },
    "$defs": {"pet": {"type": "object", "properties": {"legs": {"type": "boolean"}}, "required": ["legs"]}},
}
HOME = st.fixed_dictionaries({}, optional={"city": st.text(max_size=4), "zip": NUMBER})
PEOPLE: Any = st.deferred(
    lambda: st.fixed_dictionaries(
        {"name": st.text(max_size=4), "born": st.one_of(st.integers(), st.just("unknown"))},
        optional={
            "nick": st.one_of(st.none(), st.text(max_size=3)),
            "tags": st.lists(st.sampled_from(["a", 'q"\\', 3]), max_size=3),
            "home": HOME, "parent": PEOPLE, "pet": st.fixed_dictionaries({"legs": st.booleans()}),
            "more": st.just({"x": [1]}),
        },
    )
)


def in_order(person: dict[str, Any]) -> dict[str, Any]:
    """As the grammar has them: what is required first, then in the schema's order."""
    names = ["name", "born", *PERSON["properties"]]
    said = {name: person[name] for name in names if name in person}
    if "home" in said:
        said["home"] = {name: said["home"][name] for name in ("city", "zip") if name in said["home"]}
    return said | ({"parent": in_order(said["parent"])} if "parent" in said else {})


@given(PEOPLE)
def test_what_fits_the_schema_is_taken(person: dict[str, Any]) -> None:
    assert takes(PERSON, json.dumps(in_order(person)))


@pytest.mark.parametrize(
    "other",
    [
        {}, {"name": "a"}, {"name": 1, "born": 2}, {"name": "a", "born": "then"}, {"name": "a", "born": 1.5}, [],
        {"name": "a", "born": 1, "tags": ["b"]}, {"name": "a", "born": 1, "parent": {}},
        {"name": "a", "born": 1, "x": 1}, {"name": "a", "born": 1, "pet": {}},
        {"name": "a", "born": 1, "home": {"zip": "8000"}},
    ],
)
def test_what_does_not_fit_is_not(other: Any) -> None:
    assert not takes(PERSON, json.dumps(other))


def test_blanks_are_those_of_json_dumps() -> None:
    assert takes({"type": "object"}, '{"a": [1, 2]}')
    assert not takes({"type": "object"}, '{"a":1}')
    assert not takes({"type": "array"}, "[1,\n2]")


@pytest.mark.parametrize("schema", [True, None, {"type": "oddity"}, {"type": []}, {"$ref": "#/nowhere"}, {"enum": []}])
def test_a_schema_that_says_nothing_we_know_takes_any_value(schema: Any) -> None:
    assert takes(schema, '{"a": 1}')
    assert takes(schema, "null")


def test_a_literal_is_quoted_for_the_grammar() -> None:
    assert literal('a"\\\né') == '"\\"a\\\\\\"\\\\\\\\\\\\né\\""'
    assert takes({"const": 'a"\\\né'}, json.dumps('a"\\\né', ensure_ascii=False))
