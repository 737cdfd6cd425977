"""The course of a training run: loss and distance to the base model by step, few enough to be told with each report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST = 200  # points; a picture shows no more, and the row is written anew with each step
Point = Sequence[float]  # step, loss, kl_to_base


def with_step(points: Sequence[Point], event: Mapping[str, Any]) -> list[Point]:
    """The course so far with one more step. A run that resumed from a checkpoint repeats steps: the later one counts.

    Where there are many, every second, fourth, ... is kept, with the first and the last.
    """
    step, every = event["step"], 1
    while step / every > MOST - 1:
        every *= 2
    course = [point for point in points if point[0] < step and (point[0] - 1) % every == 0]
    return [*course, (step, round(event["loss"], 4), round(event["kl_to_base"], 5))]
