"""What a code skill must return for what: its tests, as the folder keeps them in `scripts/cases.json`. Pure.

A case comes from a failure (the user's right answer, or the client's check) or from the model that wrote the script.
Only the first kind proves anything; the second kind keeps later versions from breaking what works. Models write calls
as Python, `days(start="2026-03-01") == 9`: they are read from the syntax tree, never run.
"""

from __future__ import annotations

import ast
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.errors import SkillError
from metaclaw.library.tool import CASES, Tool, arguments_of, as_text
from metaclaw.signals.checks import bare, passes
from metaclaw.types import Check, Skill

BY_MODEL = "model"
MOST_KEPT = 24  # cases of one skill: each costs two calls in every later proof


@dataclass(frozen=True, slots=True)
class Case:
    """A call's arguments, and what must come back: `expected`, or text that `pattern` matches.

    `source` says who says so: `turn:ID` for the user in that turn, `model` for whoever wrote the script.
    """

    arguments: Mapping[str, Any]
    expected: Any = None
    pattern: str = ""
    source: str = BY_MODEL

    @property
    def of_user(self) -> bool:
        return self.source != BY_MODEL

    @property
    def wanted(self) -> str:
        """What must come back, in words."""
        return f"text that matches {self.pattern}" if self.pattern else as_text(self.expected)


def holds(case: Case, value: Any) -> bool:
    """Whether a call that returned `value` did what the case asks for."""
    if case.pattern:
        return passes(Check(case.pattern), as_text(value)) is True
    return same(case.expected, value)


def same(expected: Any, value: Any) -> bool:
    """Equal as an answer: 7 and "7" are, "7.0" and 7 are, 1 and true are not."""
    if isinstance(expected, list) and isinstance(value, list):
        return len(expected) == len(value) and all(map(same, expected, value))
    if isinstance(expected, dict) and isinstance(value, dict):
        return expected.keys() == value.keys() and all(same(part, value[key]) for key, part in expected.items())
    first, second = _words(expected), _words(value)
    if isinstance(expected, bool) or isinstance(value, bool):
        return first.casefold() == second.casefold()
    numbers = _number(first), _number(second)
    if isinstance(value, int | float) and None not in numbers:
        return math.isclose(*numbers, rel_tol=1e-9, abs_tol=1e-12)  # type: ignore[arg-type]
    if isinstance(value, list) and isinstance(expected, str):
        return [_words(item) for item in value] in _lists(expected)
    return first == second or (_json(first) is not None and _json(first) == value)


def read_cases(skill: Skill) -> list[Case]:
    """The cases in the skill's folder. `SkillError` where they cannot be read; a skill may have none."""
    text = dict(skill.files).get(CASES, "[]")
    try:
        return [
            Case(entry["arguments"], entry.get("expected"), entry.get("pattern", ""), entry.get("source", BY_MODEL))
            for entry in json.loads(text)
        ]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise SkillError(f"Skill '{skill.name}': {CASES} is not a list of cases ({error!r}). Mend or remove it.") from (
            error
        )


def written(cases: Sequence[Case]) -> str:
    """The cases as the text of `scripts/cases.json`: one on a line, the user's own kept when there are too many."""
    kept = sorted(cases, key=lambda case: not case.of_user)[:MOST_KEPT]
    lines = []
    for case in kept:
        wanted = {"pattern": case.pattern} if case.pattern else {"expected": case.expected}
        fields = {"arguments": dict(case.arguments), **wanted, "source": case.source}
        lines.append(json.dumps(fields, ensure_ascii=False))
    return "[\n" + ",\n".join(lines) + "\n]\n"


def read_call(text: str, tool: Tool) -> dict[str, Any]:
    """The arguments of a call as a model writes it in Python. `SkillError`, in words for it, where it is none."""
    return _arguments(_expression(text), tool, text)


def read_test(text: str, tool: Tool) -> Case:
    """A case from `call == value` as a model writes it. `SkillError` where it is something else."""
    node = _expression(text.strip().removeprefix("assert ").strip())
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or not isinstance(node.ops[0], ast.Eq | ast.Is):
        raise SkillError(f"the test `{text[:200]}` is not of the form {tool.entry}(...) == value")
    arguments = _arguments(node.left, tool, text)
    return Case(arguments, _plain(node.comparators[0], text))


def _arguments(node: ast.expr, tool: Tool, text: str) -> dict[str, Any]:
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name) or node.func.id != tool.entry:
        raise SkillError(f"`{text[:200]}` is no call of {tool.entry}")
    names = list(tool.parameters["properties"])
    if len(node.args) > len(names):
        raise SkillError(f"`{text[:200]}` passes more than the {len(names)} arguments of {tool.entry}")
    given = dict(zip(names, (_plain(argument, text) for argument in node.args), strict=False))
    for keyword in node.keywords:
        if keyword.arg is None or keyword.arg in given:
            raise SkillError(f"`{text[:200]}` must pass each argument once, by its name")
        given[keyword.arg] = _plain(keyword.value, text)
    return arguments_of(tool, given)


def _expression(text: str) -> ast.expr:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            raise SkillError(f"`{text[:200]}` is not a Python expression") from error


def _plain(node: ast.expr, text: str) -> Any:
    """A literal, as JSON has it."""
    try:
        return json.loads(json.dumps(ast.literal_eval(node), allow_nan=False))
    except (ValueError, TypeError, MemoryError, RecursionError) as error:
        raise SkillError(f"`{text[:200]}` may hold plain values only, nothing computed") from error


def _words(value: Any) -> str:
    return " ".join(bare(as_text(value)).split())


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _lists(text: str) -> list[list[str]]:
    """What a text may mean as a list: as JSON, or as a person writes one, by lines, commas or blanks."""
    read = _json(text)
    cuts = [re.split(cut, bare(text)) for cut in (r"\s*\n\s*", r"\s*[,;]\s*", r"\s+")]
    return [[_words(item) for item in items] for items in ([*cuts, read] if isinstance(read, list) else cuts)]


def _json(text: str) -> Any:
    """A list or an object that a user wrote down as JSON."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, list | dict) else None
