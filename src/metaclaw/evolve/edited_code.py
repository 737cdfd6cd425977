"""A code skill whose script a person changed in its folder: the tests that the live version passed decide.

In: the changed skill, the live one, and a sandbox. Out: a verdict, or None where nothing tests it; then it waits for
`metaclaw skills approve`. The tests are those of the live version, as the store has them: a changed file of tests could
say anything. The changed file's own must hold too.
"""

from __future__ import annotations

from collections.abc import Sequence

from metaclaw.errors import SandboxError, SkillError
from metaclaw.evolve.cases import Case, holds, read_cases
from metaclaw.evolve.proof import Run, called
from metaclaw.library.tool import Tool, tool_of
from metaclaw.sandbox import Result
from metaclaw.types import Skill, SkillKind, Verdict


async def retest(edited: Skill, live: Skill | None, run: Run) -> Verdict | None:
    """Each case twice: what answers differently the second time cannot be relied on."""
    if live is None or edited.kind is not SkillKind.CODE or live.kind is not SkillKind.CODE:
        return None
    try:
        tool, cases = tool_of(edited), [*read_cases(live), *read_cases(edited)]
        if not any(case.of_user for case in read_cases(live)):
            return None
        results = [(case, await called(tool, case, run), await called(tool, case, run)) for case in cases]
    except (SkillError, SandboxError) as error:
        return _verdict(edited, live, 0, [str(error)])
    return _verdict(edited, live, len(results), [told for one in results if (told := _wrong(tool, *one))])


def _wrong(tool: Tool, case: Case, first: Result, again: Result) -> str:
    """What is wrong with a case; empty where it holds."""
    if not first.ok:
        return f"{tool.entry}({dict(case.arguments)}) failed: {first.error}"
    if first.value != again.value:
        return f"{tool.entry}({dict(case.arguments)}) answers differently each time"
    if not holds(case, first.value):
        return f"{tool.entry}({dict(case.arguments)}) is {first.value!r}, but the right answer is {case.wanted}"
    return ""


def _verdict(edited: Skill, live: Skill, n: int, wrong: Sequence[str]) -> Verdict:
    decision = f"rejected: {wrong[0]}" if wrong else "admitted: every test of the version before passes"
    return Verdict(
        subject=f"skill:{edited.ref}", baseline=live.ref, candidate=edited.ref, n=n, effect=0.0,
        confidence=0.0 if wrong else 1.0, decision=decision[:500], evidence={"wrong": list(wrong)},
    )
