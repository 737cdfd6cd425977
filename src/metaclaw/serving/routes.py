"""Which adapter a namespace should serve, and which it does. Owns the table `routes`.

`wanted` is what was promoted or rolled back to; the engine host of the gateway sees it and swaps. None is the base.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from metaclaw.errors import TrainingError
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from metaclaw.types import Adapter, AdapterState


@dataclass(frozen=True, slots=True)
class RouteState:
    wanted: str | None
    serving: str | None
    detail: str


class Routes:
    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    def state(self) -> RouteState:
        rows = self._database.read("SELECT wanted, serving, detail FROM routes WHERE namespace = ?", (self._namespace,))
        return RouteState(*rows[0]) if rows else RouteState(None, None, "base model")

    def want(self, adapter: str | None, detail: str) -> None:
        """Ask for a swap."""
        self._write("wanted", adapter, detail)

    def now_serving(self, adapter: str | None, detail: str) -> None:
        """Say that a swap is done."""
        self._write("serving", adapter, detail)

    def give_up(self, serving: str | None, detail: str) -> None:
        """Say that a swap failed: what serves goes on, and is wanted again."""
        self._write("wanted", serving, detail)

    def _write(self, column: str, adapter: str | None, detail: str) -> None:
        self._database.write(
            lambda connection: connection.execute(
                f"INSERT INTO routes (namespace, {column}, detail, updated_at) VALUES (?, ?, ?, ?)"
                f" ON CONFLICT DO UPDATE SET {column} = excluded.{column}, detail = excluded.detail,"
                " updated_at = excluded.updated_at",
                (self._namespace, adapter, detail, time.time()),
            )
        )


def promote(routes: Routes, adapter: Adapter) -> None:
    routes.want(adapter.name, f"promoted {adapter.name}")


def roll_back_stale(routes: Routes, registry: Registry, stale: Collection[str]) -> str | None:
    """Take every stale adapter out of service. Where one of them is wanted, the newest of its ancestors that is not
    stale is wanted again, or the base. Returns the name of what is wanted then.
    """
    wanted = current = routes.state().wanted
    for name in stale:
        if registry.get(name).state is not AdapterState.REJECTED:
            registry.set_state(name, AdapterState.ROLLED_BACK)
    while wanted is not None and wanted in stale:
        wanted = registry.get(wanted).parent
    if wanted != current:
        routes.want(wanted, f"{current} came from data that was erased")
    return wanted


def rollback(routes: Routes, registry: Registry) -> str | None:
    """Undo the adapter that is wanted: its parent, or the base, is wanted again. Returns that one's name.

    Raises `TrainingError` where the base model is already served.
    """
    current = routes.state().wanted
    if current is None:
        raise TrainingError("The base model is served: there is no adapter to roll back.")
    parent = registry.get(current).parent
    registry.set_state(current, AdapterState.ROLLED_BACK)
    routes.want(parent, f"rolled back {current}")
    return parent
