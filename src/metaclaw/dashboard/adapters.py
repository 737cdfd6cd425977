"""What was learned in weights: which adapter serves, what each was compared with, and where it comes from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from metaclaw.dashboard.rooms import Asked, Page, Rooms
from metaclaw.errors import RequestError, TrainingError
from metaclaw.serving.promotion import admitted, goes_back_to
from metaclaw.serving.routes import RouteState
from metaclaw.training.telling import in_words
from metaclaw.types import Adapter, Verdict


@dataclass(frozen=True, slots=True)
class Row:
    adapter: Adapter
    verdict: Verdict | None
    service: str
    stale: str


def adapters(rooms: Rooms, asked: Asked) -> Page:
    route, stale = rooms.routes.state(), rooms.registry.stale()
    return Page("adapters.html", {
        "rows": [
            Row(one, next(reversed(rooms.registry.verdicts(one.name)), None), route.service_of(one.name),
                stale.get(one.name, ""))
            for one in reversed(rooms.registry.all())
        ],
        "route": route,
        "undone": undone_next(route),
        "goes_back_to": _goes_back_to(rooms, route),
        "cannot_train": rooms.cannot_train,
    })


def adapter(rooms: Rooms, asked: Asked) -> Page:
    """One adapter. Raises `RequestError` (404) where there is none."""
    try:
        found = rooms.registry.get(asked.named["name"])
    except TrainingError as error:
        raise RequestError(404, "unknown_adapter", str(error)) from error
    route = rooms.routes.state()
    manifest = found.lineage.get("manifest", [])
    return Page("adapter.html", {
        "adapter": found,
        "verdicts": [(one, in_words(one.evidence)) for one in reversed(rooms.registry.verdicts(found.name))],
        "service": route.service_of(found.name),
        "undone": undone_next(route) == found.name,
        "may_serve": admitted(rooms.registry.verdicts(found.name)) and not route.service_of(found.name),
        "goes_back_to": _goes_back_to(rooms, route),
        "stale": rooms.registry.stale().get(found.name, ""),
        "splits": Counter(row["split"] for row in manifest),
        "skills": Counter(ref for row in manifest for ref in row.get("skills", ())).most_common(),
        "result": found.lineage.get("result", {}),
        "left_out": found.lineage.get("left_out", {}),
        "ancestors": _ancestors(rooms, found),
    })


def undone_next(route: RouteState) -> str | None:
    """The adapter that a roll-back would undo; None where the base model alone serves."""
    return route.canary or route.wanted


def _goes_back_to(rooms: Rooms, route: RouteState) -> str | None:
    """What serves all after a roll-back; None for the base model."""
    if route.canary:
        return route.wanted
    return goes_back_to(rooms.registry, route.wanted) if route.wanted else None


def _ancestors(rooms: Rooms, adapter: Adapter) -> list[str]:
    """The adapters that it was trained after, the nearest first."""
    parents = {one.name: one.parent for one in rooms.registry.all()}
    found: list[str] = []
    parent = adapter.parent
    while parent is not None and parent not in found:
        found.append(parent)
        parent = parents.get(parent)
    return found
