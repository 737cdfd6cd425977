"""The course of a training run: thinned, and one value a step after a resume."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from metaclaw.training.steps import MOST, Point, with_step


def event(step: int, loss: float = 1.0) -> dict[str, Any]:
    return {"event": "step", "step": step, "loss": loss, "kl_to_base": 0.0123456}


def course(steps: Sequence[int]) -> list[Point]:
    points: list[Point] = []
    for step in steps:
        points = with_step(points, event(step))
    return points


def test_it_grows_with_the_steps() -> None:
    assert course([1, 2]) == [(1, 1.0, 0.01235), (2, 1.0, 0.01235)]


def test_steps_that_are_done_again_count_once() -> None:
    points = with_step(course([1, 2, 3, 4]), event(3, loss=0.5))
    assert [(point[0], point[1]) for point in points] == [(1, 1.0), (2, 1.0), (3, 0.5)]


def test_a_long_run_is_thinned_and_keeps_its_ends() -> None:
    points = course(range(1, 1001))
    assert len(points) <= MOST
    assert (points[0][0], points[-1][0]) == (1, 1000)
    assert max(after[0] - before[0] for before, after in pairwise(points)) <= 8
