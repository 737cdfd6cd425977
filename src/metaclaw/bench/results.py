"""Result files: `bench/results/NAME.json`, with what a reader needs to check a figure and to make it again."""

from __future__ import annotations

import json
import math
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Arm:
    """A share of successes among `n`, with its 95 % interval."""

    metric: str
    value: float
    ci95: tuple[float, float]
    n: int


@dataclass(frozen=True, slots=True)
class Check:
    """A figure that was asked for, its bar in words, and whether it holds."""

    value: float | None
    bar: str
    holds: bool


def share(metric: str, passed: Sequence[bool]) -> Arm:
    n = len(passed)
    return Arm(metric, round(sum(passed) / n, 6), wilson(sum(passed), n), n)


def wilson(successes: int, n: int) -> tuple[float, float]:
    """The Wilson score interval of a proportion (Wilson 1927), 95 %."""
    p = successes / n
    centre = (p + Z95**2 / (2 * n)) / (1 + Z95**2 / n)
    half = Z95 / (1 + Z95**2 / n) * math.sqrt(p * (1 - p) / n + Z95**2 / (4 * n**2))
    return round(max(0.0, centre - half), 4), round(min(1.0, centre + half), 4)


def write(
    folder: Path,
    bench: str,
    command: str,
    model: str,
    seeds: Sequence[int],
    arms: Mapping[str, Arm],
    checks: Mapping[str, Check],
    extra: Mapping[str, Any],
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{bench}.json"
    record = {
        "bench": bench,
        "command": command,
        "commit": _commit(),
        "date": datetime.now(UTC).date().isoformat(),
        "machine": _machine(),
        "model": model,
        "seeds": list(seeds),
        "arms": {name: asdict(arm) for name, arm in arms.items()},
        "checks": {name: asdict(check) for name, check in checks.items()},
        **extra,
    }
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return path


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip() or "unknown"


def _machine() -> str:
    return f"{os.cpu_count()} cores, {platform.machine()}, {platform.system()}, Python {platform.python_version()}"
