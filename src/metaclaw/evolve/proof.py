"""Does a code skill do what the user said was right? Its tests, run in the sandbox, before and after.

In: a script as a tool, the cases from the failure, the model's own, and the earlier version where there is one. Out: a
`Proof`: what is wrong with it, what leaves doubts, and the verdict with all evidence.

*Before* is what stood in the script's place: the earlier version of the skill, or else a stub that returns the answer
that failed. A case from the failure must fail there: one that passes says nothing about the failure. *After* is the
script, each case twice, since what answers differently the second time cannot be relied on.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.errors import SkillError
from metaclaw.evolve.cases import Case, holds, same
from metaclaw.evolve.shortcuts import leaks, particular, ungrounded, unsteady
from metaclaw.library.signature import problem_with
from metaclaw.library.tool import Tool, arguments_of, as_text
from metaclaw.sandbox import Call, Result
from metaclaw.types import Verdict

Run = Callable[[Call], Awaitable[Result]]

MOST_COMPARED, ALIKE = 200, 0.5  # texts whose difference is told: so long at most, and so similar at least


@dataclass(frozen=True, slots=True)
class Proof:
    """`wrong` keeps the skill out, in words for whoever wrote it; `doubts` keep it on trial. `kept` are its cases."""

    wrong: tuple[str, ...]
    doubts: tuple[str, ...]
    kept: tuple[Case, ...]
    verdict: Verdict

    @property
    def of_user(self) -> bool:
        """Whether anything but the model's own word speaks for it."""
        return any(case.of_user for case in self.kept)


@dataclass(frozen=True, slots=True)
class Trial:
    """One case, before and after."""

    case: Case
    before: Result
    after: Result
    again: Result
    passed_before: bool
    passed: bool

    @property
    def steady(self) -> bool:
        return self.after.ok == self.again.ok and self.after.value == self.again.value


@dataclass(frozen=True, slots=True)
class Baseline:
    """What stood in the script's place: `tool` is the earlier version, or a stub that gives the failed `reply`."""

    name: str
    tool: Tool

    @classmethod
    def failed_answer(cls, tool: Tool, reply: str) -> Baseline:
        source = f"def {tool.entry}(**_ignored):\n    return {reply!r}\n"
        return cls("the answer that failed", dataclasses.replace(tool, source=source, returns={"type": "string"}))


async def prove(
    ref: str,
    tool: Tool,
    cases: Sequence[Case],
    settled: Sequence[Case],
    before: Baseline,
    request: str,
    run: Run,
    doubts: Sequence[str] = (),
) -> Proof:
    """Run everything. `cases` are new, from the failure and from the model; `settled` those of the earlier version.

    `request` is the failed one's text; `doubts` are known already. Raises `SandboxError` where nothing may run code.
    """
    trials = [await _try(case, tool, before, run) for case in [*settled, *cases]]
    old, new = trials[: len(settled)], trials[len(settled) :]
    of_user = [trial for trial in new if trial.case.of_user]
    own = [trial for trial in new if not trial.case.of_user]
    wrong = [
        *leaks(tool, [trial.case for trial in of_user], request),
        *unsteady(tool),
        *(f"{_shown(trial)}, but before it was right: {trial.case.wanted}" for trial in old if not trial.passed),
        *(
            f"{_shown(trial)}, but the right answer is {trial.case.wanted}{difference(trial)}"
            for trial in of_user if not trial.passed
        ),
        *(f"{_called(trial.case)} was right already" for trial in of_user if trial.passed_before),
        *(f"{_called(trial.case)} answers differently each time" for trial in trials if not trial.steady),
        *(_shown(trial) for trial in own if trial.after.ended_by),
        *(told for trial in trials if (told := _off_type(trial, tool))),
    ]
    disagreeing = [f"{_shown(trial)}, its test says {trial.case.wanted}" for trial in own if not trial.passed]
    if not of_user:
        wrong += disagreeing  # then nothing speaks for it but these
    doubts = [
        *doubts, *disagreeing, *particular(tool, request),
        *ungrounded([trial.case for trial in of_user], request), *_narrow(trials),
    ]
    kept = tuple(trial.case for trial in trials if trial.passed)
    return Proof(tuple(dict.fromkeys(wrong)), tuple(doubts), kept, _verdict(ref, before, trials, wrong, doubts))


async def _try(case: Case, tool: Tool, before: Baseline, run: Run) -> Trial:
    """What was right before is judged by a value of the earlier version, not by its taking the arguments at all."""
    first, after, again = [await called(one, case, run) for one in (before.tool, tool, tool)]
    passed_before, passed = (result.ok and holds(case, result.value) for result in (first, after))
    return Trial(case, first, after, again, passed_before, passed)


async def called(tool: Tool, case: Case, run: Run) -> Result:
    """What a case's call comes to; a failure where its arguments do not fit."""
    try:
        arguments = arguments_of(tool, case.arguments)
    except SkillError as error:
        return Result(False, None, "", str(error), 0.0, "none")
    return await run(Call(tool.source, tool.entry, arguments))


def _off_type(trial: Trial, tool: Tool) -> str | None:
    problem = problem_with(trial.after.value, tool.returns) if trial.after.ok else None
    return f"{_called(trial.case)} returned what its signature does not say: the value {problem}" if problem else None


def _narrow(trials: Sequence[Trial]) -> Iterator[str]:
    """Nothing shows that another call gets another answer."""
    values = [trial.after.value for trial in trials if trial.passed]
    if all(same(values[0], value) for value in values[1:]):
        yield "no passing test has another answer than the first"


def _verdict(
    ref: str, before: Baseline, trials: Sequence[Trial], wrong: Sequence[str], doubts: Sequence[str]
) -> Verdict:
    """Counts what users said alone: a model's own tests are evidence for a reader, not for a decision."""
    counted = [trial for trial in trials if trial.case.of_user]
    gained = sum(trial.passed and not trial.passed_before for trial in counted)
    lost = sum(trial.passed_before and not trial.passed for trial in counted)
    if wrong:
        decision = f"rejected: {wrong[0]}"
    elif not counted:
        decision = "waits for a person: no test comes from a user"
    else:
        decision = f"on trial: {doubts[0]}" if doubts else "admitted: its tests fail before and pass after"
    return Verdict(
        subject=f"skill:{ref}",
        baseline=before.name,
        candidate="the script",
        n=len(counted),
        effect=(gained - lost) / len(counted) if counted else 0.0,
        confidence=1 - 0.5**gained if gained and not lost else 0.0,
        decision=decision[:500],
        evidence={
            "cases": [_told(trial) for trial in trials],
            "wrong": list(wrong), "doubts": list(doubts),
            "seconds": round(sum(trial.after.seconds for trial in trials), 4),
        },
    )


def _told(trial: Trial) -> Mapping[str, Any]:
    return {
        "arguments": dict(trial.case.arguments), "wanted": trial.case.wanted[:500], "source": trial.case.source,
        "before": {"passed": trial.passed_before, "got": _got(trial.before)},
        "after": {"passed": trial.passed, "got": _got(trial.after), "engine": trial.after.engine},
        "steady": trial.steady,
    }


def _shown(trial: Trial) -> str:
    verb = "returned" if trial.after.ok else "failed with"
    return f"{_called(trial.case)} {verb} {_got(trial.after)}"


def difference(trial: Trial) -> str:
    """What would have to change in the returned text, where that is little: small models do not see it themselves."""
    got, wanted = as_text(trial.after.value), trial.case.wanted
    if not trial.after.ok or trial.case.pattern or max(len(got), len(wanted)) > MOST_COMPARED:
        return ""
    compared = difflib.SequenceMatcher(None, got, wanted, autojunk=False)
    if compared.ratio() < ALIKE:
        return ""
    told = []
    for kind, a, b, c, d in compared.get_opcodes():
        if kind == "replace":
            told.append(f"{got[a:b]!r} must be {wanted[c:d]!r}")
        elif kind != "equal":
            told.append(f"{got[a:b]!r} must go" if kind == "delete" else f"{wanted[c:d]!r} is missing")
    return f" ({', '.join(dict.fromkeys(told))})" if told else ""


def _called(case: Case) -> str:
    return f"the call with {as_text(dict(case.arguments))[:300]}"


def _got(result: Result) -> str:
    """The value, or the end of the error: that is where Python says what it was."""
    return as_text(result.value)[:500] if result.ok else result.error.strip()[-500:]
