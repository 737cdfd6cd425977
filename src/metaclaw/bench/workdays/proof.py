"""Is the data sound? An oracle that knows the rules, one who does nothing, a stranger to the house, and constants.

Comes in: generated workdays. Goes out: what each of them scores; `main` proves it over many seeds and writes nothing.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from metaclaw.bench.workdays.choices import LETTERS, is_true
from metaclaw.bench.workdays.course import Score
from metaclaw.bench.workdays.documents import Files
from metaclaw.bench.workdays.generate import Workdays, generate
from metaclaw.bench.workdays.questions import ChoiceQuestion, FileQuestion
from metaclaw.bench.workdays.rules import Rule
from metaclaw.bench.workdays.writing import write
from metaclaw.errors import MetaClawError

Writes = Callable[[FileQuestion, Files], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Baseline:
    """Shares in [0, 1]: files right, choices right, partial credit of choices."""

    files: float
    choices: float
    partial: float


def oracle(days: Workdays) -> Baseline:
    """Keeps to every rule in force, not only to those that are checked."""
    known = {day.number: days.house.known(day.number, with_today=True) for day in days.days}
    return _play(
        days, lambda q, before: write(q.document, q.house, before),
        lambda q: frozenset(
            letter for letter, option in zip(LETTERS, q.options, strict=True) if is_true(option, known[q.day])
        ),
    )  # fmt: skip


def nothing(days: Workdays) -> Baseline:
    """Writes no file and ticks nothing."""
    return _play(days, lambda _q, _before: {}, lambda _: frozenset())


def stranger(days: Workdays) -> Baseline:
    """Writes every file complete and well, but knows no rule; ticks nothing."""
    return _play(days, lambda q, before: write(q.document, {}, before), lambda _: frozenset())


def best_constant(days: Workdays) -> tuple[str, Baseline]:
    """The one set of letters that is worth most when ticked every time, by partial credit."""
    sets = [frozenset(some) for size in range(1, 6) for some in itertools.combinations(LETTERS, size)]
    scored = {some: _play(days, lambda _q, _before: {}, lambda _, some=some: some) for some in sets}  # type: ignore[misc]
    best = max(scored, key=lambda some: scored[some].partial)
    return "".join(sorted(best)), scored[best]


def readable(days: Workdays) -> list[str]:
    """Every place where an agent could read a rule before anybody told it; none in sound data.

    Workspaces and questions are searched for the rule's words and for what it makes of the question's own document.
    """
    found: list[str] = []
    for day in days.days:
        for question in day.questions:
            if isinstance(question, FileQuestion):
                seen = "\n".join([day.greeting, question.prompt, *day.files, *day.files.values()])
                shown = [rule for rule in question.house.values() if _shows(seen, rule, question)]
                found += [f"{question.id}: {rule.key}" for rule in shown]
    return found


def untold(days: Workdays) -> list[str]:
    """Choices that ask for a rule before a file question brought it; none in sound data."""
    told: set[str] = set()
    early: list[str] = []
    for question in days.questions:
        if isinstance(question, ChoiceQuestion):
            early += [question.id for rule in question.rules if rule.key not in told]
        elif question.event in ("new", "changed", "revoked"):
            told |= {rule.key for rule in question.rules}
    return early


def _shows(seen: str, rule: Rule, question: FileQuestion) -> bool:
    if rule.form.says in seen:
        return True
    if rule.revoked or rule not in question.rules:
        return False
    shown = re.escape(rule.show(question.document))
    return re.search(rf"(?<!\w){shown}(?!\w)", seen) is not None


def _play(days: Workdays, writes: Writes, ticks: Callable[[ChoiceQuestion], frozenset[str]]) -> Baseline:
    """All days, each in a workspace of its own in which files stay until its evening."""
    files: list[Score] = []
    choices: list[Score] = []
    for day in days.days:
        workspace = dict(day.files)
        for question in day.questions:
            if isinstance(question, ChoiceQuestion):
                choices.append(question.score(ticks(question)))
            else:
                after = {**workspace, **writes(question, workspace)}
                files.append(question.score(workspace, after))
                workspace = after
    return Baseline(
        sum(score.right for score in files) / max(1, len(files)),
        sum(score.right for score in choices) / max(1, len(choices)),
        sum(score.credit for score in choices) / max(1, len(choices)),
    )


def baselines_of(days: Workdays) -> dict[str, dict[str, float]]:
    """What a seed is worth to whoever knows all, does nothing, knows no rule, or always ticks the same."""
    letters, constant = best_constant(days)
    rows = {"oracle": oracle(days), "nothing": nothing(days), "stranger": stranger(days), f"always {letters}": constant}
    return {
        name: {"files": round(row.files, 4), "choices": round(row.choices, 4), "choice_credit": round(row.partial, 4)}
        for name, row in rows.items()
    }


def main(seeds: Sequence[int]) -> None:
    """Print the proof, a line a seed. MetaClawError where one does not hold."""
    faults: list[str] = []
    for seed in seeds:
        days = generate(seed)
        told = [f"{n} {'/'.join(f'{v:.1%}' for v in row.values())}" for n, row in baselines_of(days).items()]
        print(f"seed {seed}: {len(days.questions)} questions; files/choices/partial credit: {', '.join(told)}")
        faults += [f"seed {seed}: {what}" for what in faults_of(days)]
    if faults:
        raise MetaClawError("The data is not sound:\n" + "\n".join(faults))
    print(f"{len(seeds)} seeds are sound: the oracle has everything, doing nothing has nothing, no rule is readable.")


def faults_of(days: Workdays) -> list[str]:
    """What is wrong with the data of a seed; nothing should be."""
    return [
        *([] if oracle(days) == Baseline(1, 1, 1) else ["the oracle does not score 100 %"]),
        *([] if nothing(days) == Baseline(0, 0, 0) else ["doing nothing scores"]),
        *(f"a rule is readable in {place}" for place in readable(days)),
        *(f"a choice comes too early: {place}" for place in untold(days)),
    ]
