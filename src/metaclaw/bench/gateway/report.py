"""What the gateway's benchmark found: the figures asked for, the table and the result file."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.table import Table

from metaclaw.bench import results
from metaclaw.bench.gateway.load import Run, Shape

COMMAND = "make bench-gateway"
SOAK_COMMAND = "metaclaw bench gateway --rounds 0"
SKILLS = 10_000
SMALL = [Shape(stream, 0, connections) for stream in (False, True) for connections in (1, 16, 64)]


@dataclass(slots=True)
class Measured:
    """Runs by contender and shape."""

    runs: dict[tuple[str, Shape], list[Run]] = field(default_factory=dict)
    memory_mb: list[float] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)

    def median(self, contender: str, shape: Shape, figure: Callable[[Run], float]) -> float | None:
        runs = self.runs.get((contender, shape))
        return statistics.median(map(figure, runs)) if runs else None

    def per_second(self, contender: str, shape: Shape) -> float | None:
        return self.median(contender, shape, lambda one: one.per_second)

    def failed(self, contender: str) -> int:
        return sum(one.failed for (name, _), runs in self.runs.items() if name == contender for one in runs)


def publish(
    measured: Measured, rounds: int, seconds: int, soak_minutes: float, folder: Path, console: Console
) -> None:
    """Write `folder/gateway.json`, or where there were no rounds `folder/gateway-soak.json`, and print the checks."""
    arms = {
        f"{name}: {shape.name}": results.Arm(
            "requests a second", round(statistics.median(rates), 1), (round(min(rates), 1), round(max(rates), 1)),
            len(rates),
        )
        for (name, shape), runs in measured.runs.items()
        if (rates := [one.per_second for one in runs])
    }
    checks = _checks(measured)
    extra = {
        "interval": "ci95 holds the lowest and the highest of the rounds, n counts them",
        "rounds": rounds, "seconds_each": seconds, "skills": SKILLS,
        "latency_ms": {
            f"{name}: {shape.name}": {
                "p50": round(statistics.median(one.p50_ms for one in runs), 3),
                "p99": round(statistics.median(one.p99_ms for one in runs), 3),
            }
            for (name, shape), runs in measured.runs.items()
        },
        "soak": {"minutes": soak_minutes, "memory_mb": [round(one, 1) for one in measured.memory_mb]},
        "left_out": measured.left_out,
        "note": "LiteLLM and Portkey do other work for each request than a pass-through does (LiteLLM: accounting, "
                "routing, conversion of every reply; Portkey: provider transforms, hooks). The ratios say what a user "
                "waits for, not who does the same work faster.",
    }
    name, command = ("gateway", COMMAND) if rounds else ("gateway-soak", SOAK_COMMAND)
    results.write(folder, name, command, "mock upstream in C", [1], arms, checks, extra)
    _print(checks, console)


def _checks(measured: Measured) -> dict[str, results.Check]:
    found = _speed(measured) if measured.runs else {}
    if len(measured.memory_mb) >= 8:
        settled = measured.memory_mb[len(measured.memory_mb) // 4 :]
        half = len(settled) // 2
        found["memory_growth_share"] = _at_most(
            statistics.median(settled[half:]) / statistics.median(settled[:half]) - 1, 0.03
        )
    return found


def _speed(measured: Measured) -> dict[str, results.Check]:
    found = {
        "added_p50_ms": _at_most(_added(measured, lambda one: one.p50_ms), 0.6),
        "added_p99_ms": _at_most(_added(measured, lambda one: one.p99_ms), 2.0),
    }
    for shape in (one for one in SMALL if one.connections > 1):
        ours, bare, lite = (measured.per_second(name, shape) for name in ("metaclaw", "bare aiohttp", "LiteLLM"))
        key = f"{'sse' if shape.stream else 'json'}_{shape.connections}"
        found[f"share_of_bare_{key}"] = _at_least(ours / bare if ours and bare else None, 0.6)
        found[f"times_litellm_{key}"] = _at_least(ours / lite if ours and lite else None, 30)
    found["failed"] = _at_most(float(measured.failed("metaclaw")), 0)
    return found


def _added(measured: Measured, figure: Callable[[Run], float]) -> float | None:
    """What the gateway adds to a small whole reply at one connection."""
    ours, direct = (measured.median(name, Shape(False, 0, 1), figure) for name in ("metaclaw", "direct"))
    return ours - direct if ours is not None and direct is not None else None


def _at_most(value: float | None, bar: float) -> results.Check:
    return results.Check(_rounded(value), f"at most {bar:g}", value is not None and value <= bar)


def _at_least(value: float | None, bar: float) -> results.Check:
    return results.Check(_rounded(value), f"at least {bar:g}", value is not None and value >= bar)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def _print(checks: dict[str, results.Check], console: Console) -> None:
    table = Table(title="The gateway, everything on")
    for column in ("figure", "value", "bar", "holds"):
        table.add_column(column)
    rows: Sequence[tuple[str, results.Check]] = list(checks.items())
    for name, check in rows:
        table.add_row(name, str(check.value), check.bar, "yes" if check.holds else "no")
    console.print(table)
