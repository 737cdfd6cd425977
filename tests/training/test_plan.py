"""The order of a job: everything has its turn, rehearsal is in each step, own words come when the objective says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.training.plan import learning_rate, plan
from tiny import example, tiny_job


def examples(practice: int, replay: int, query: int = 0) -> list[Any]:
    kinds = ["proven"] * practice + ["replay"] * replay + ["query"] * query
    return [example(number, kind) for number, kind in enumerate(kinds)]  # type: ignore[arg-type]


@given(
    practice=st.integers(1, 30), replay=st.integers(0, 12), query=st.integers(0, 3), size=st.integers(1, 9),
    objective=st.sampled_from(["distill", "sft", "grpo", "opd"]), seed=st.integers(0, 9),
)
def test_whatever_there_is(practice: int, replay: int, query: int, size: int, objective: str, seed: int) -> None:
    job = tiny_job(Path(), batch_size=size, objective=objective, seed=seed, epochs=2)
    steps = plan(job, examples(practice, replay, query))
    assert steps == plan(job, examples(practice, replay, query))
    for epoch in range(2):
        mine = [step for step in steps if step.epoch == epoch]
        taken = [index for step in mine for index in (*step.given, *step.own)]
        assert set(taken) == set(range(practice + replay)), "all of it, and nothing that is only looked at"
        assert sorted(index for index in taken if index < practice) == list(range(practice)), "practice once"
        assert [step.last for step in mine] == [False] * (len(mine) - 1) + [True]
        for step in mine:
            assert not replay or any(index >= practice for index in step.given)
            assert len(step.given) + len(step.own) <= size + 1
            assert all(index < practice for index in step.own)


@pytest.mark.parametrize(
    ("settings", "own"),
    [
        ({"objective": "sft"}, [0, 0, 0]), ({"objective": "grpo"}, [8, 8, 8]), ({"objective": "opd"}, [8, 8, 8]),
        ({"objective": "distill"}, [0, 4, 4]),
        ({"objective": "distill", "warm_epochs": 0, "own_share": 1.0}, [8, 8, 8]),
        ({"objective": "distill", "own_share": 0.0}, [0, 0, 0]),
    ],
)
def test_who_speaks(settings: dict[str, Any], own: list[int]) -> None:
    steps = plan(tiny_job(Path(), epochs=3, **settings), examples(8, 2))
    assert [sum(len(step.own) for step in steps if step.epoch == epoch) for epoch in range(3)] == own


def test_what_no_skill_taught_is_never_asked_of_the_student_in_distillation() -> None:
    plain = [example(number, teacher_prompt=None) for number in range(4)]
    steps = plan(tiny_job(Path(), own_share=1.0, warm_epochs=0), plain)
    assert not any(step.own for step in steps)


def test_the_rate_warms_up_and_falls_to_a_tenth() -> None:
    job = tiny_job(Path(), learning_rate=1.0, warmup_share=0.25)
    rates = [learning_rate(job, step, 8) for step in range(8)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert learning_rate(job, 8, 8) == pytest.approx(0.1)
