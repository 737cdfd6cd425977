"""The course of a training run: loss and distance to the base model by step, few enough to be told with each report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MOST = 200  # points; a picture shows no more, and the row is written anew with each step
Point = Sequence[float]  # step, loss, kl_to_base


def with_step(points: Sequence[Point], event: Mapping[str, Any]) -> list[Point]:
    """The course so far with one more step. A run that resumed from a checkpoint repeats steps: the later one counts.

    Where there are too many, every other one goes; the first and the last stay.
    """
    step = event["step"]
    course = [point for point in points if point[0] < step]
    if len(course) >= MOST:
        course = course[::2]
    return [*course, (step, round(event["loss"], 4), round(event["kl_to_base"], 5))]
