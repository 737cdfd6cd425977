"""A code skill as a tool: read from its syntax, never run; and the arguments of calls."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.errors import SkillError
from metaclaw.library.signature import problem_with
from metaclaw.library.tool import arguments_of, as_text, tool_of, usage
from metaclaw.types import Skill, SkillKind

SCRIPT = '''
"""Dates."""
from typing import Literal, Optional

MONTHS = ["Jan", "Feb"]


def _pad(number: int) -> str:
    return f"{number:02d}"


def to_iso(day: int, month: str, year: int = 2026, *, zone: str | None = None,
           style: Literal["date", "week"] = "date") -> str:
    """Write a date as ISO 8601.

    day: the day of the month
    month (str): its English name
    """
    return f"{year}-{MONTHS.index(month) + 1:02d}-{_pad(day)}"
'''


def skill(script: str = SCRIPT, name: str = "to-iso-date") -> Skill:
    return Skill(
        name, "Writes dates. Not for times.", "Call it.", kind=SkillKind.CODE,
        files=(("scripts/cases.json", "[]"), ("scripts/to_iso_date.py", script)),
    )


def function(signature: str, body: str = "return x", doc: str = '"""Does it."""') -> Skill:
    return skill(f"def f{signature}:\n    {doc}\n    {body}\n")


def test_a_script_is_read_into_a_tool() -> None:
    tool = tool_of(skill())
    assert (tool.name, tool.entry, tool.capabilities) == ("to_iso_date", "to_iso", ())
    assert tool.source == SCRIPT
    assert tool.description.startswith("Write a date as ISO 8601.")
    assert tool.description.endswith("Writes dates. Not for times.")
    assert tool.returns == {"type": "string"}
    assert tool.parameters == {
        "type": "object",
        "properties": {
            "day": {"type": "integer", "description": "the day of the month"},
            "month": {"type": "string", "description": "its English name"},
            "year": {"type": "integer", "default": 2026},
            "zone": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
            "style": {"type": "string", "enum": ["date", "week"], "default": "date"},
        },
        "required": ["day", "month"],
        "additionalProperties": False,
    }


def test_reading_a_script_runs_none_of_it() -> None:
    tool_of(skill("raise SystemExit\n\n" + SCRIPT))


def test_a_name_suits_both_providers() -> None:
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", tool_of(skill(name="a" * 60 + "-b-c")).name)


def test_the_description_keeps_within_what_openai_takes() -> None:
    long = function("(x: int) -> int", doc=f'"""{"words " * 400}"""')
    assert len(tool_of(long).description) <= 1024
    assert "Not for times" in tool_of(long).description


@pytest.mark.parametrize(
    ("written", "schema"),
    [
        ("int", {"type": "integer"}),
        ("float", {"type": "number"}),
        ("'str'", {"type": "string"}),
        ("bool", {"type": "boolean"}),
        ("list[list[int]]", {"type": "array", "items": {"type": "array", "items": {"type": "integer"}}}),
        ("typing.List[str]", {"type": "array", "items": {"type": "string"}}),
        ("dict[str, float]", {"type": "object", "additionalProperties": {"type": "number"}}),
        ("Optional[int]", {"anyOf": [{"type": "integer"}, {"type": "null"}]}),
        ("int | str | None", {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]}),
        ("Union[int, int]", {"type": "integer"}),
        ("Literal[1, 2]", {"enum": [1, 2]}),
    ],
)
def test_types_become_schemas(written: str, schema: dict[str, Any]) -> None:
    assert tool_of(function(f"(x: {written}) -> int")).parameters["properties"]["x"] == schema


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        (function("(x) -> int"), "'x' has no type"),
        (function("(x: int)"), "returns has no type"),
        (function("(*x: int) -> int"), r"takes \*x"),
        (function("(**x: int) -> int"), r"takes \*\*x"),
        (function("(x: int, /) -> int"), "positional-only"),
        (function("(x: list) -> int"), "does not say what is in it"),
        (function("(x: dict) -> int"), "does not say what is in it"),
        (function("(x: dict[int, str]) -> int"), "keys of a dict must be str"),
        (function("(x: bytes) -> int"), "`bytes` cannot come from JSON"),
        (function("(x: Any) -> int"), "`Any` cannot come from JSON"),
        (function("(x: 'int[') -> int"), "is no type"),
        (function("(x: list[int, str]) -> int"), "cannot come from JSON"),
        (function("(x: Literal[1.5]) -> int"), "neither text nor"),
        (function("(x: Literal[y]) -> int"), "x"),
        (function("(x: int = None) -> int"), r"default of 'x' must be an integer, not null.*T \| None"),
        (function("(x: float = 1e999) -> int"), "default of 'x'"),
        (function("(x: int = len('')) -> int"), "default of 'x' is computed"),
        (function("(x: int) -> int", doc="pass"), "no docstring"),
        (skill("x = 1"), r"0 public functions \(none\)"),
        (skill('def f(x: int) -> int:\n    """."""\n\ndef g() -> int: ...'), r"2 public functions \(f, g\)"),
        (skill('async def f(x: int) -> int:\n    """."""'), "plain def"),
        (skill('import functools\n@functools.cache\ndef f(x: int) -> int:\n    """."""'), "decorator"),
        (skill("def f(:"), "line 1"),
        (skill("x = '\0'"), "script"),
        (skill('CAPABILITIES = ["network"]\n' + SCRIPT), "asks for network"),
        (skill('CAPABILITIES: list[str] = list("n")\n' + SCRIPT), "CAPABILITIES is computed"),
        (skill('CAPABILITIES = "files"\n' + SCRIPT), "asks for files"),
        (skill("x = " + "-" * 20_000 + "1\n" + SCRIPT), "script"),
    ],
)
def test_what_cannot_be_a_tool_says_what_to_mend(bad: Skill, says: str) -> None:
    with pytest.raises(SkillError, match=says):
        tool_of(bad)


def test_no_capabilities_may_be_declared() -> None:
    assert tool_of(skill("CAPABILITIES: tuple[str, ...] = ()\n" + SCRIPT)).capabilities == ()


def test_an_instruction_is_no_tool_nor_is_a_skill_of_two_scripts() -> None:
    with pytest.raises(SkillError, match="nothing to call"):
        tool_of(Skill("a", "b", "c"))
    two = Skill("a", "b", "c", kind=SkillKind.CODE, files=(("scripts/a.py", SCRIPT), ("scripts/b.py", SCRIPT)))
    with pytest.raises(SkillError, match="2 scripts"):
        tool_of(two)


TAKES_ALL = tool_of(
    function("(i: int, f: float, s: str, b: bool, l: list[float], d: dict[str, int], o: int | None = None,"
             " k: Literal['Red', 2] = 2) -> int")
)
RIGHT = {"i": 1, "f": 2.5, "s": "x", "b": True, "l": [1.5], "d": {"a": 1}}


@pytest.mark.parametrize(
    ("name", "given_", "read"),
    [
        ("i", "7", 7), ("i", 7.0, 7), ("f", 3, 3.0), ("f", "1e2", 100.0), ("s", 12, "12"), ("s", 1.5, "1.5"),
        ("b", "False", False), ("l", ["1", 2], [1.0, 2.0]), ("l", "[1]", [1.0]), ("d", '{"a": "3"}', {"a": 3}),
        ("o", "5", 5), ("o", None, None), ("k", "red", "Red"), ("k", "2", 2), ("k", 2, 2),
    ],
)
def test_arguments_are_brought_to_their_types(name: str, given_: Any, read: Any) -> None:
    assert arguments_of(TAKES_ALL, json.dumps({**RIGHT, name: given_})) == {**RIGHT, name: read}
    result = arguments_of(TAKES_ALL, {**RIGHT, name: given_})[name]
    assert type(result) is type(read)


@pytest.mark.parametrize(
    ("name", "given_", "says"),
    [
        ("i", True, "'i' must be an integer, not true"),
        ("i", 1.5, "'i' must be an integer, not 1.5"),
        ("i", "9" * 5000, "'i' must be an integer"),
        ("f", "nan", "'f' must be a number"),
        ("f", float("inf"), "'f' must be a number"),
        ("s", None, "'s' must be a string, not null"),
        ("s", True, "'s' must be a string"),
        ("b", 1, "'b' must be true or false"),
        ("l", [1, "x"], "'l' must be a number, not \"x\""),
        ("l", "x", "'l' must be a list"),
        ("d", {"a": []}, "'d' must be an integer, not \\[\\]"),
        ("o", "x", "'o' must be an integer or null, not \"x\""),
        ("k", "blue", "'k' must be one of \"Red\", 2, not \"blue\""),
        ("z", 1, "there is no argument 'z'"),
    ],
)
def test_a_wrong_argument_is_named_in_words_that_a_model_can_act_on(name: str, given_: Any, says: str) -> None:
    with pytest.raises(SkillError, match=says) as caught:
        arguments_of(TAKES_ALL, {**RIGHT, name: given_})
    assert "It takes i (integer), f (number)" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[1]", "null", "[" * 100_000])
def test_arguments_that_are_no_object_are_refused(text: str) -> None:
    with pytest.raises(SkillError, match="was not called: its arguments"):
        arguments_of(TAKES_ALL, text)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(SkillError, match=r"no argument 'x'; 'day' is missing; 'month' must be a string"):
        arguments_of(tool_of(skill()), {"month": [], "x": 1})
    assert usage(tool_of(skill())).endswith('style (one of "date", "week", may be left out)')


def test_no_arguments_at_all_may_be_sent_as_nothing() -> None:
    tool = tool_of(function("() -> int"))
    assert arguments_of(tool, "") == {} == arguments_of(tool, "{}")
    assert usage(tool) == "no arguments"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["i", "f", "s", "b", "l", "d", "o", "k", "z"]), JSON))
def test_what_passes_fits_the_schema(values: dict[str, Any]) -> None:
    try:
        read = arguments_of(TAKES_ALL, values)
    except SkillError:
        return
    for name, value in read.items():
        assert problem_with(value, TAKES_ALL.parameters["properties"][name]) is None


def test_a_value_is_told_as_text() -> None:
    assert as_text("é") == "é"
    assert as_text({"a": [1, None, "é"]}) == '{"a": [1, null, "é"]}'
