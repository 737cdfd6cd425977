"""The stream: rules arrive, one changes, one goes; and the exam shares nothing with the work."""

from __future__ import annotations

from itertools import pairwise

import pytest

from metaclaw.bench.demo.workload import CONVENTIONS
from metaclaw.bench.learning.stream import (
    ARRIVES,
    CHANGES,
    DAYS,
    REVOKED,
    Size,
    follows_old_rule,
    in_force,
    known,
    stream,
)

SIZE = Size(work=3, plain=2, exam=2)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_rules_arrive_day_by_day_and_no_task_comes_twice(seed: int) -> None:
    days = stream(seed, SIZE)
    assert [day.number for day in days] == list(range(1, DAYS + 1))
    asked: list[str] = []
    for day in days:
        kinds = [task.kind for task in day.work]
        assert set(kinds) - {"plain"} == {kind for kind in CONVENTIONS if ARRIVES[kind] <= day.number}
        assert all(kinds.count(kind) == SIZE.work for kind in set(kinds) - {"plain"})
        firsts = kinds[: len(set(kinds))]
        assert len(set(firsts)) == len(firsts), "each kind once before any comes again"
        asked += [task.prompt for task in day.work if task.kind != "plain"]
    assert len(asked) == len(set(asked))
    assert not set(asked) & {task.prompt for task in days[0].exam}
    assert stream(seed, SIZE) == days


def test_the_exam_is_the_same_every_day_but_for_what_is_right() -> None:
    days = stream(1, SIZE)
    assert len({tuple(task.prompt for task in day.exam) for day in days}) == 1
    for before, after in pairwise(days):
        changed = {old.kind for old, new in zip(before.exam, after.exam, strict=True) if old != new}
        moved = {kind for kind, day in {**CHANGES, **REVOKED}.items() if day == after.number}
        assert changed == moved


def test_the_right_answers_pass_and_those_of_before_do_not() -> None:
    first, *_, last = stream(2, SIZE)
    for old, new in zip(first.exam, last.exam, strict=True):
        if old.kind == "plain":
            continue
        assert old.passes(old.answer)
        assert new.passes(new.answer)
        assert new.passes(old.answer) == (old.kind not in {*CHANGES, *REVOKED})
        assert follows_old_rule(new, old.answer) == (old.kind in REVOKED)
        assert not follows_old_rule(new, new.answer)
        assert new.answer in new.correction


def test_what_is_in_force_and_what_an_old_hand_knows() -> None:
    assert [in_force("length", day) for day in (2, 3, 5, 6)] == [False, True, True, False]
    assert [known("log_line", day) for day in (3, 4, 5, 6)] == [False, True, False, True]
    assert not in_force("plain", 3)
