"""The figures of a learning run: accuracy by day and arm, what was kept, what was lost, what was unlearned. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from metaclaw.bench.learning.playing import NEVER, RAN, Line
from metaclaw.bench.learning.stream import ARRIVES, REVOKED, Day, in_force, known
from metaclaw.bench.results import Arm, Check, share

WINDOWS = 2  # nights after which nothing of a revoked rule may be left
LEAST_KEPT, MOST_FORGOTTEN = 0.9, 0.02
Runs = Mapping[tuple[int, str], Sequence[Line]]
"""By seed and gateway."""
Wanted = Callable[[str, int], bool]
"""Whether a kind of task counts on a day."""


def arms_of(objectives: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Each arm: whose lines, and which part of them. Without an objective nothing is trained: the first two alone."""
    arms = {"frozen": (NEVER, "frozen"), "skills": (NEVER, "skills")}
    for first in objectives[:1]:
        arms |= {"weights": (first, "weights"), "both": (first, "skills")}
    return arms | {f"weights, {name}": (name, "weights") for name in objectives[1:]}


def graded(runs: Runs, days: Mapping[int, Sequence[Day]]) -> dict[tuple[int, str], list[Line]]:
    """Frozen's replies, which were given once, scored for each day: what is right changes."""
    found: dict[tuple[int, str], list[Line]] = {}
    for (seed, name), lines in runs.items():
        kept = [line for line in lines if line.part != "frozen"]
        for line in lines:
            if line.part == "frozen":
                at = int(line.id.rsplit("/", 1)[1])
                for day in days[seed]:
                    right = day.exam[at].passes(line.reply)
                    kept.append(replace(line, day=day.number, right=right, id=f"{day.number}/frozen/{at}"))
        found[seed, name] = kept
    return found


def figures(
    runs: Runs, days: Mapping[int, Sequence[Day]], objectives: Sequence[str]
) -> tuple[dict[str, Arm], dict[str, Check], dict[str, Any]]:
    lines, last = graded(runs, days), max(day.number for found in days.values() for day in found)
    arms = arms_of(objectives)
    measured: dict[str, Arm] = {}
    by_day: dict[str, Any] = {}
    for name, arm in arms.items():
        now = _of(lines, arm, last, in_force)
        if not now:
            continue
        measured[name] = share("exam tasks right on the last day, of the rules in force", now)
        by_day[name] = [_day(lines, arm, day) for day in range(1, last + 1)]
    table = {name: _objective(lines, name, last) for name in objectives}
    return measured, _checks(measured, by_day, lines, arms, last), {"by_day": by_day, "objectives": table}


def _of(lines: Runs, arm: tuple[str, str], day: int, wanted: Wanted) -> list[bool]:
    gateway, part = arm
    return [
        line.right for (_, name), found in lines.items() if name == gateway
        for line in found if line.part == part and line.day == day and wanted(line.kind, day)
    ]


def _day(lines: Runs, arm: tuple[str, str], day: int) -> dict[str, Any]:
    """The whole exam, what is in force, what was so before, what has not come yet (forward transfer), and what has no
    rule."""
    parts: dict[str, Wanted] = {
        "exam": lambda *_: True, "in_force": in_force, "retention": known,
        "not_yet": lambda kind, at: ARRIVES.get(kind, 0) > at,
        "plain": lambda kind, _: kind == "plain",
    }
    told = {name: _share(_of(lines, arm, day, wanted)) for name, wanted in parts.items()}
    found = [line for (_, name), some in lines.items() if name == arm[0] for line in some
             if line.part == arm[1] and line.day == day]
    after = [line.old for line in found if REVOKED.get(line.kind, day + 1) <= day]
    return {"day": day, **told, "still_revoked": _share(after), "tokens": _mean(line.tokens for line in found)}


def _checks(
    measured: Mapping[str, Arm], by_day: Mapping[str, Any], lines: Runs, arms: Mapping[str, tuple[str, str]], last: int
) -> dict[str, Check]:
    checks: dict[str, Check] = {}
    if "skills" in measured and "weights" in measured and measured["skills"].value:
        kept = measured["weights"].value / measured["skills"].value
        checks["weights keep of skills"] = Check(round(kept, 4), f"at least {LEAST_KEPT}", kept >= LEAST_KEPT)
    if "weights" in by_day:
        before, after = (by_day[arm][-1]["plain"] for arm in ("frozen", "weights"))
        if before is not None and after is not None:
            lost = round(before - after, 4)
            checks["points lost on retention"] = Check(lost, f"at most {MOST_FORGOTTEN}", lost <= MOST_FORGOTTEN)
        checks |= _still_followed(by_day["weights"], last, "windows")
    elif measured.keys() == {"frozen", "skills"}:  # nothing was trained
        gained = round(measured["skills"].value - measured["frozen"].value, 4)
        checks["points gained by skills"] = Check(gained, "above 0", gained > 0)
        checks |= _still_followed(by_day["skills"], last, "days")
    seeds = len({seed for seed, _ in lines})
    checks["seeds"] = Check(float(seeds), "at least 3", seeds >= 3)
    return checks


def _still_followed(days: Sequence[Mapping[str, Any]], last: int, counted: str) -> dict[str, Check]:
    """Nothing where the days end before that can be asked."""
    due = min(REVOKED.values()) + WINDOWS - 1  # the first night is that of the day itself
    if due > last:
        return {}
    left = days[due - 1]["still_revoked"]
    return {"revoked rule still followed": Check(left, f"0 after {WINDOWS} {counted}", left == 0)}


def _objective(lines: Runs, objective: str, last: int) -> dict[str, Any]:
    """One row of the comparison: what the weights know, what they lost, and what the nights cost."""
    arm = (objective, "weights")
    nights = [line for (_, name), found in lines.items() if name == objective for line in found if line.part == "night"]
    notes = [night.note or {} for night in nights]
    trained = [note["trainer"] for note in notes if _ran(note) and note.get("trainer")]
    decisions = [_became(note) for note in notes]
    return {
        **_day(lines, arm, last),
        "nights": len(nights), "promoted": sum(one.startswith("promoted") for one in decisions),
        "steps": sum(one.get("steps") or 0 for one in trained),
        "tokens_trained": sum(one.get("tokens") or 0 for one in trained),
        "train_seconds": round(sum(one.get("train_seconds") or 0.0 for one in trained), 1),
        "own_samples": sum(one.get("own_samples") or 0 for one in trained),
        "flat_groups": sum(one.get("flat_groups") or 0 for one in trained), "decisions": decisions,
    }


def _ran(night: Mapping[str, Any]) -> bool:
    """Whether it trained; else what it tells of a job is of an earlier night's."""
    return bool(night.get("said") == RAN)


def _became(night: Mapping[str, Any]) -> str:
    """What became of it; where nothing was trained, why not."""
    told = (night.get("decision") or night.get("error")) if _ran(night) else None
    return str(told or night.get("said"))


def _share(found: Sequence[bool]) -> float | None:
    return round(sum(found) / len(found), 4) if found else None


def _mean(values: Iterable[int]) -> float | None:
    found = list(values)
    return round(sum(found) / len(found), 1) if found else None
