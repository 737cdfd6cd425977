"""Days of work in which the house's rules arrive one by one; one of them changes, and one is revoked.

In: a seed and sizes. Out: for each day its tasks, and an exam that is the same every day but for the answers: it asks
for every rule, and a reply is right by what holds that day. Practice and exam share no words. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from metaclaw.bench.demo.workload import CONVENTIONS, EXAM, PRACTICE, Task, tasks

ARRIVES = {"file_name": 1, "time_stamp": 1, "metadata": 2, "log_line": 3, "length": 3}
CHANGES = {"log_line": 5}
REVOKED = {"length": 6}
DAYS = 8
LOG = re.compile(r"\[DONE\] T-(\d+) \| (.*)")
LENGTH = re.compile(r"L=(\d)(\d)00mm")


@dataclass(frozen=True, slots=True)
class Size:
    """Tasks of each kind: of a day's work, and of the exam."""

    work: int = 6
    plain: int = 4
    exam: int = 6


@dataclass(frozen=True, slots=True)
class Day:
    number: int
    work: tuple[Task, ...]
    exam: tuple[Task, ...]


def in_force(kind: str, day: int) -> bool:
    """Whether the house has a rule for this kind of task on that day."""
    return ARRIVES.get(kind, DAYS + 1) <= day < REVOKED.get(kind, DAYS + 1)


def known(kind: str, day: int) -> bool:
    """Whether the rule of that day was already so the day before: what an old hand must still know."""
    return in_force(kind, day - 1) and in_force(kind, day) and CHANGES.get(kind) != day


def stream(seed: int, size: Size, days: int = DAYS) -> list[Day]:
    """The same first days, however many are asked for."""
    counts = dict.fromkeys(CONVENTIONS, size.work * DAYS) | {"plain": min(12, size.plain * DAYS)}
    practice = _by_kind(tasks(PRACTICE, counts, seed))
    exam = tasks(EXAM, dict.fromkeys((*CONVENTIONS, "plain"), size.exam), seed)
    return [_day(number, practice, exam, size) for number in range(1, days + 1)]


def _day(number: int, practice: Mapping[str, list[Task]], exam: list[Task], size: Size) -> Day:
    work: list[Task] = []
    for kind in CONVENTIONS:
        if ARRIVES[kind] <= number:  # also when it is revoked: somebody has to say so
            found = practice[kind][(number - 1) * size.work : number * size.work]
            work += [as_of(task, number) for task in found]
    plain = practice["plain"]
    work += [plain[(number * size.plain + at) % len(plain)] for at in range(size.plain)]
    return Day(number, _dealt(work), tuple(as_of(task, number) for task in exam))


def as_of(task: Task, day: int) -> Task:
    """The task with the answer that is right on that day. Before its rule came, nothing is."""
    if task.kind == "log_line" and day >= CHANGES["log_line"]:
        return _changed(task)
    if task.kind == "length" and day >= REVOKED["length"]:
        return _revoked(task)
    return task


def follows_old_rule(task: Task, reply: str) -> bool:
    """Of a task whose rule was revoked: is it done by that rule all the same?"""
    return task.kind in REVOKED and "L=" in reply and "mm" in reply


def _changed(task: Task) -> Task:
    found = LOG.fullmatch(task.answer)
    assert found  # noqa: S101 - the workload writes it so
    answer = f"{found[2]} (T-{found[1]}): done"
    correction = (
        "We changed our log format. A log line is now the subject in lower case, then T- and the task number in round "
        f"brackets, then a colon and done, and nothing else. It should have been `{answer}`."
    )
    return replace(task, answer=answer, pattern=re.escape(answer), correction=correction)


def _revoked(task: Task) -> Task:
    found = LENGTH.fullmatch(task.answer)
    assert found  # noqa: S101 - the workload writes it so
    answer = f"{found[1]}.{found[2]} m"
    correction = (
        "The parts list no longer has a form of its own for lengths: forget L= and mm. Write the length in metres, "
        f"just as it was said. It should have been `{answer}`."
    )
    return replace(task, answer=answer, pattern=rf"{re.escape(answer)}(et(er|re)s?)?\.?", correction=correction)


def _by_kind(found: list[Task]) -> dict[str, list[Task]]:
    kinds: dict[str, list[Task]] = {}
    for task in found:
        kinds.setdefault(task.kind, []).append(task)
    return kinds


def _dealt(work: list[Task]) -> tuple[Task, ...]:
    """The first of each kind, then the second of each: a rule is corrected before it is asked for again."""
    seen: dict[str, int] = {}
    keyed = []
    for task in work:
        seen[task.kind] = seen.get(task.kind, 0) + 1
        keyed.append((seen[task.kind], task))
    return tuple(task for _, task in sorted(keyed, key=lambda one: one[0]))
