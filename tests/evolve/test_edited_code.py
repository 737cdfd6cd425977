"""A script changed by hand, tested in the real sandbox with what the live version had to pass."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.evolve.cases import Case, written
from metaclaw.evolve.edited_code import retest
from metaclaw.library.tool import CASES
from metaclaw.sandbox import Sandbox
from metaclaw.types import Skill, SkillKind

USER = Case({"minutes": 117}, "1:57", source="turn:1")
GOOD = 'hours, rest = divmod(minutes, 60)\n    return f"{hours}:{rest:02d}"'


@pytest.fixture
async def sandbox(nothing_left: None) -> AsyncIterator[Sandbox]:
    sandbox = Sandbox(SandboxSettings(seconds=1))
    yield sandbox
    await sandbox.close()


def skill(body: str, *cases: Case, version: int = 1) -> Skill:
    script = f'def length(minutes: int) -> str:\n    """Writes 1:57."""\n    {body}\n'
    files = ((CASES, written(cases)), ("scripts/length.py", script))
    return Skill("length", "Lengths.", "Call it.", version=version, kind=SkillKind.CODE, files=files)


async def test_a_change_that_passes_what_the_live_one_passed_is_admitted(sandbox: Sandbox) -> None:
    edited = skill('return f"{minutes // 60}:{minutes % 60:02d}"', version=2)
    verdict = await retest(edited, skill(GOOD, USER), sandbox.run)
    assert verdict
    assert verdict.decision.startswith("admitted")
    assert (verdict.subject, verdict.baseline, verdict.n) == ("skill:length@2", "length@1", 1)


@pytest.mark.parametrize(
    ("body", "says"),
    [('return "2:57"', "the right answer is 1:57"), ("return 1 // 0", "failed"), ("return minutes.", "syntax")],
)
async def test_one_that_does_not_is_rejected_whatever_its_own_tests_say(
    sandbox: Sandbox, body: str, says: str
) -> None:
    lenient = Case({"minutes": 117}, "2:57", source="turn:1")
    verdict = await retest(skill(body, lenient, version=2), skill(GOOD, USER), sandbox.run)
    assert verdict
    assert verdict.decision.startswith("rejected")
    assert says in verdict.decision


async def test_without_tests_of_a_user_a_person_decides(sandbox: Sandbox) -> None:
    edited = skill(GOOD, USER, version=2)
    for live in (None, skill(GOOD), skill(GOOD, Case({"minutes": 60}, "1:00"))):
        assert await retest(edited, live, sandbox.run) is None
