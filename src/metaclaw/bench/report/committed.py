"""The result files of a folder, read and checked: what was run, what came out, and what was asked for.

`results.write` makes such a file; this is its reader. A file that lacks what a reader needs to judge a figure is an
error that says which file and what is missing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaclaw.bench.results import Arm, Check
from metaclaw.errors import MetaClawError

NEEDED = ("bench", "command", "commit", "date", "machine", "model", "seeds", "arms", "checks")


@dataclass(frozen=True, slots=True)
class Result:
    """One result file. `name` is its file's name without `.json`; `rest` is what only this benchmark tells."""

    name: str
    command: str
    commit: str
    date: str
    machine: str
    model: str
    seeds: tuple[int, ...]
    arms: Mapping[str, Arm]
    checks: Mapping[str, Check]
    rest: Mapping[str, Any]

    @property
    def held(self) -> int:
        """How many of the checks hold."""
        return sum(check.holds for check in self.checks.values())


def read_all(folder: Path) -> list[Result]:
    """Every result file of the folder, by name. MetaClawError for one that cannot be read, or an empty folder."""
    found = [read(path) for path in sorted(folder.glob("*.json"))]
    if not found:
        raise MetaClawError(f"{folder} holds no result files. Run a benchmark first: metaclaw bench --help")
    return found


def read(path: Path) -> Result:
    """One result file, or MetaClawError."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        missing = [key for key in NEEDED if key not in raw]
    except (OSError, ValueError, TypeError) as error:
        raise MetaClawError(f"{path} is not a result file: {error}") from error
    if missing:
        raise MetaClawError(f"{path} is not a result file: it lacks {', '.join(missing)}. Run its benchmark again.")
    return Result(
        name=path.stem,
        command=raw["command"],
        commit=raw["commit"],
        date=raw["date"],
        machine=raw["machine"],
        model=raw["model"],
        seeds=tuple(raw["seeds"]),
        arms={name: Arm(a["metric"], a["value"], tuple(a["ci95"]), a["n"]) for name, a in raw["arms"].items()},
        checks={name: Check(c["value"], c["bar"], c["holds"]) for name, c in raw["checks"].items()},
        rest={key: value for key, value in raw.items() if key not in NEEDED},
    )
