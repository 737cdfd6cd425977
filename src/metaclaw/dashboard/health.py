"""Is everything well? The gateway as it tells of itself, what was lost, and what all of it takes on disk."""

from __future__ import annotations

import shutil
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaclaw.dashboard.rooms import Asked, Page, Rooms
from metaclaw.journal import glances
from metaclaw.scheduler.scheduler import TELL_AGAIN


@dataclass(frozen=True, slots=True)
class Place:
    """`name` is what a person calls it."""

    name: str
    path: Path
    bytes: int
    files: int


def health(rooms: Rooms, asked: Asked) -> Page:
    state = rooms.gateway()
    main, side, sessions = glances.counts(rooms.database, rooms.namespace)
    places = [place_of(name, path) for name, path in rooms.places.items()]
    seen, ago = rooms.board.seen()
    return Page("health.html", {
        "gateway": state,
        "lost": lost_of(state),
        "upstreams": state.get("upstreams", []),
        "settled": rooms.settled(),
        "scheduler": seen if ago <= 2 * TELL_AGAIN.total_seconds() else {},
        "problems": rooms.catalog.mirror.problems(),
        "stale": rooms.registry.stale(),
        "turns": main, "side_calls": side, "sessions": sessions,
        "places": places,
        "all_bytes": sum(place.bytes for place in places),
        "free_bytes": shutil.disk_usage(rooms.database.path.parent).free,
        "home": rooms.database.path.parent,
    })


def lost_of(state: Mapping[str, Any]) -> dict[str, int]:
    """By reason, what was not kept or not done since the gateway's start."""
    return {reason: count for reason, count in state.get("lost", {}).items() if count}


def place_of(name: str, path: Path) -> Place:
    """A file with those that go with it (a store's log), or a folder with all below it."""
    sizes = [_bytes(one) for one in (path.rglob("*") if path.is_dir() else path.parent.glob(f"{path.name}*"))]
    return Place(name, path, sum(sizes), sum(1 for one in sizes if one))


def _bytes(path: Path) -> int:
    try:
        known = path.lstat()
    except OSError:  # gone meanwhile
        return 0
    return known.st_size if stat.S_ISREG(known.st_mode) else 0
