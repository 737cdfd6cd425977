"""What was learned in weights: which adapter serves, what each was compared with, and where it comes from."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from metaclaw.dashboard.rooms import Asked, Page, Rooms
from metaclaw.errors import RequestError, TrainingError
from metaclaw.types import Adapter, Verdict


@dataclass(frozen=True, slots=True)
class Row:
    adapter: Adapter
    verdict: Verdict | None
    serves: bool
    wanted: bool
    stale: str


def adapters(rooms: Rooms, asked: Asked) -> Page:
    route, stale = rooms.routes.state(), rooms.registry.stale()
    return Page("adapters.html", {
        "rows": [
            Row(one, next(reversed(rooms.registry.verdicts(one.name)), None), one.name == route.serving,
                one.name == route.wanted, stale.get(one.name, ""))
            for one in reversed(rooms.registry.all())
        ],
        "route": route,
        "goes_back_to": _parent(rooms, route.wanted),
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
        "verdicts": rooms.registry.verdicts(found.name)[::-1],
        "serves": found.name == route.serving,
        "wanted": found.name == route.wanted,
        "goes_back_to": _parent(rooms, route.wanted),
        "stale": rooms.registry.stale().get(found.name, ""),
        "splits": Counter(row["split"] for row in manifest),
        "skills": Counter(ref for row in manifest for ref in row.get("skills", ())).most_common(),
        "result": found.lineage.get("result", {}),
        "left_out": found.lineage.get("left_out", {}),
        "ancestors": _ancestors(rooms, found),
    })


def _parent(rooms: Rooms, name: str | None) -> str | None:
    """What serves again after a roll-back; None for the base model."""
    return rooms.registry.get(name).parent if name else None


def _ancestors(rooms: Rooms, adapter: Adapter) -> list[str]:
    """The adapters that it was trained after, the nearest first."""
    parents = {one.name: one.parent for one in rooms.registry.all()}
    found: list[str] = []
    parent = adapter.parent
    while parent is not None and parent not in found:
        found.append(parent)
        parent = parents.get(parent)
    return found
