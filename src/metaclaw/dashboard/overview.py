"""The first page: does it learn? The curve, what waits for the person, and what changed last."""

from __future__ import annotations

from metaclaw.dashboard.curve import learning_curve, together
from metaclaw.dashboard.rooms import Asked, Page, Rooms
from metaclaw.dashboard.skills import waiting_of
from metaclaw.journal import glances

WEEK = 7
CHANGES = 9


def overview(rooms: Rooms, asked: Asked) -> Page:
    days = learning_curve(rooms)
    this, before = together(days[-WEEK:]), together(days[-2 * WEEK : -WEEK])
    route = rooms.routes.state()
    return Page("overview.html", {
        "days": days,
        "this_week": this,
        "week_before": before,
        "change": this.value - before.value if this.value is not None and before.value is not None else None,
        "last_day_turns": sum(day.turns for day in days[-1:]),
        "turns": glances.counts(rooms.database, rooms.namespace)[0],
        "live": rooms.catalog.live(),
        "generation": rooms.catalog.generation(),
        "waiting": waiting_of(rooms),
        "route": route,
        "job": rooms.jobs.latest(),
        "changes": rooms.catalog.changes_since(0.0, CHANGES),
        "cannot_train": rooms.cannot_train,
    })
