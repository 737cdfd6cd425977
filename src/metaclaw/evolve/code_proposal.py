"""A model's answer read as a code skill: the script as a tool, and its tests. Pure; nothing is run.

What cannot be used is told as a `SkillError` in words for the model, which may mend it once.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.errors import SkillError
from metaclaw.evolve.cases import Case, read_call, read_test
from metaclaw.evolve.failure import Failure
from metaclaw.library.skillfile import MAX_DESCRIPTION
from metaclaw.library.tool import Tool, tool_of
from metaclaw.types import Skill, SkillKind

MAX_SCRIPT = 6_000
MOST_TESTS = 8
TEXTS = ("use_for", "not_for", "script", "failed_call", "right_answer")
LISTS = ("tests", "capabilities")
READING = "the right answer is the model's reading of the user's words"


@dataclass(frozen=True, slots=True)
class Proposal:
    """The skill, still without its cases; its tool; the tests for it; and what leaves doubts from the start."""

    skill: Skill
    tool: Tool
    cases: tuple[Case, ...]
    doubts: tuple[str, ...]


def read_fields(reply: str) -> dict[str, Any] | None:
    """The answer's fields; None for "no code", and for what is not the JSON that was asked for."""
    fields = object_or_empty(reply)
    if fields.get("code_helps") is not True or not all(isinstance(fields.get(name), str) for name in TEXTS):
        return None
    lists = [fields.get(name) for name in LISTS]
    if not all(isinstance(one, list) and all(isinstance(item, str) for item in one) for one in lists):
        return None
    return fields


def read_repair(reply: str, fields: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields with what the repair changes; None where it is not the JSON that was asked for."""
    changed = object_or_empty(reply)
    return read_fields(json.dumps({**fields, **{name: changed.get(name) for name in ("script", "failed_call")}}))


def read_proposal(fields: Mapping[str, Any], failure: Failure, taken: Collection[str] = ()) -> Proposal:
    """The skill and its tests, under a name that is not `taken`. `SkillError` where they cannot be used."""
    if fields["capabilities"]:
        asked = ", ".join(fields["capabilities"])[:200]
        raise SkillError(f"it asks for {asked}. No capability can be granted: compute from the arguments alone")
    if len(fields["script"]) > MAX_SCRIPT:
        raise SkillError(f"the script has more than {MAX_SCRIPT} characters. Write less")
    skill = _named(_skill(fields, failure), taken)
    tool = tool_of(skill)
    arguments = read_call(fields["failed_call"], tool)
    evidence, doubts = _evidence(arguments, fields["right_answer"], failure)
    own = [case for case in _own_tests(fields["tests"], tool) if dict(case.arguments) != arguments]
    if not evidence and not own:
        raise SkillError(f"it has no test. Write three of the form {tool.entry}(...) == value")
    answer = next((case.wanted for case in evidence if not case.pattern), "")
    skill = dataclasses.replace(skill, body=_body_text(fields, tool, answer))
    return Proposal(skill, tool, (*evidence, *own), doubts)


def _skill(fields: Mapping[str, Any], failure: Failure) -> Skill:
    """Everything but its name and its text."""
    described = f"{fields['use_for'].strip()} Not for: {fields['not_for'].strip()} Like: {failure.example[:400]}"
    script = ("scripts/proposed.py", fields["script"].strip() + "\n")
    return Skill("proposed", described[:MAX_DESCRIPTION], "", origin="model", kind=SkillKind.CODE, files=(script,))


def _named(skill: Skill, taken: Collection[str]) -> Skill:
    """Named like its function: the names that models give apart from it tell of the one case."""
    name = re.sub(r"[^a-z0-9]+", "-", tool_of(skill).entry.lower()).strip("-")[:56].strip("-") or "learned-tool"
    name = f"{name}-tool" if name in taken else name
    files = tuple((f"scripts/{name.replace('-', '_')}.py", text) for _, text in skill.files)
    return dataclasses.replace(skill, name=name, files=files)


def _evidence(arguments: Mapping[str, Any], answer: str, failure: Failure) -> tuple[list[Case], tuple[str, ...]]:
    """The test that the failure makes, if it makes one.

    A check, or a right answer in code marks, stands for itself. Else the model may point at the right answer in what
    the user said. What the failed answer said too cannot be it.
    """
    source = f"turn:{failure.turn.id}"
    if failure.check is not None:
        return [Case(arguments, failure.expected or None, failure.check.pattern, source)], ()
    if failure.expected:
        return [Case(arguments, failure.expected, source=source)], ()
    quote = answer.strip()
    if quote and _stands_in(quote, failure.correction) and not _stands_in(quote, failure.turn.reply):
        return [Case(arguments, quote, source=source)], (READING,)
    return [], ()


def _stands_in(quote: str, text: str) -> bool:
    """As words of its own: the 7 of "17" and of "7.5" is not."""
    return re.search(rf"(?<![\w.,]){re.escape(quote)}(?!\w|[.,]\d)", text) is not None


def _own_tests(texts: Sequence[str], tool: Tool) -> list[Case]:
    """The model's tests, less those that cannot be read and those that a program which does nothing would pass."""
    cases = []
    for text in texts[:MOST_TESTS]:
        try:
            cases.append(read_test(text, tool))
        except SkillError:
            continue
    return [case for case in cases if case.expected is not None]


def _body_text(fields: Mapping[str, Any], tool: Tool, answer: str) -> str:
    """What SKILL.md says: when to call it, when not, and the call that the failure should have been."""
    example = f"\n\nExample: `{fields['failed_call'].strip()}`" + (f" gives `{answer}`" if answer else "")
    return (
        f"Call the tool `{tool.name}` for this and do not work it out yourself.\n\n"
        f"Use for: {fields['use_for'].strip()}\nNot for: {fields['not_for'].strip()}{example}"
    )
