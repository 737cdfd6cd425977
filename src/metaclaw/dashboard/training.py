"""The slow loop: what the scheduler sees and does, how far the training is, and what came of earlier runs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaclaw.dashboard.rooms import Asked, Page, Rooms
from metaclaw.scheduler.scheduler import TELL_AGAIN
from metaclaw.scheduler.windows import upcoming
from metaclaw.training.jobs import JobRow

SHOWN_WINDOWS = 4
SHOWN_JOBS = 20
ALIVE_SECONDS = 2 * TELL_AGAIN.total_seconds()
UNFINISHED = ("running", "paused")


def training(rooms: Rooms, asked: Asked) -> Page:
    now = rooms.now()
    long_enough = [
        (span, why) for span, why in upcoming(now, rooms.meetings(), rooms.rule)
        if (span.end - span.start).total_seconds() >= rooms.rule.min_seconds
    ]
    return Page("training.html", {
        **_now(rooms),
        "windows": [
            (span.start.astimezone(rooms.rule.zone), span.end.astimezone(rooms.rule.zone), why)
            for span, why in long_enough[:SHOWN_WINDOWS]
        ],
        "rule": rooms.rule,
        "jobs": [job for job in rooms.jobs.newest(SHOWN_JOBS) if job.state not in UNFINISHED],
    })


def progress(rooms: Rooms, asked: Asked) -> Page:
    """What moves while it trains, for a page that is open."""
    return Page("_progress.html", _now(rooms))


def _now(rooms: Rooms) -> Mapping[str, Any]:
    seen, ago = rooms.board.seen()
    job = rooms.jobs.latest()
    unfinished = job if job is not None and job.state in UNFINISHED else None
    return {
        "cannot_train": rooms.cannot_train,
        "seen": seen if ago <= ALIVE_SECONDS else {},
        "asked_seconds": rooms.board.asked_seconds(),
        "answer": rooms.board.answered(),
        "held_seconds": rooms.board.held_seconds(),
        "job": unfinished,
        "trainer": unfinished.progress.get("trainer", {}) if unfinished else {},
        "steps": steps_of(job),
    }


def steps_of(job: JobRow | None) -> list[list[float]]:
    """Step, loss and distance to the base model; of runs from before these were kept, nothing."""
    return list(job.progress.get("steps", ())) if job else []
