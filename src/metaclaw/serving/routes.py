"""Which adapter a namespace should serve, which it does, and which is on trial. Owns the table `routes`.

`wanted` is what was promoted or rolled back to; the engine host of the gateway sees it and swaps. None is the base.
`canary` serves a share of the sessions beside it; `waiting` is tried when that has ended. Learner, gateway and commands
write here, so every step is one transaction that looks at what it changes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from metaclaw.store import Connection, Database

COLUMNS = "wanted, serving, detail, canary, canary_share, canary_since, waiting"


@dataclass(frozen=True, slots=True)
class RouteState:
    """`canary_since` is None until the canary's engine serves."""

    wanted: str | None
    serving: str | None
    detail: str
    canary: str | None = None
    canary_share: float = 0.0
    canary_since: float | None = None
    waiting: str | None = None

    def service_of(self, name: str) -> str:
        """How an adapter is in service, in words; "" where it is not."""
        if name == self.canary:
            return f"on trial, {self.canary_share:.0%}" if self.canary_since else "about to go on trial"
        if name == self.waiting:
            return "waits for a trial"
        if name == self.serving:
            return "serves" if name == self.wanted else "about to leave"
        return "about to serve" if name == self.wanted else ""


class Routes:
    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace

    def state(self) -> RouteState:
        rows = self._database.read(f"SELECT {COLUMNS} FROM routes WHERE namespace = ?", (self._namespace,))
        return RouteState(*rows[0]) if rows else RouteState(None, None, "base model")

    def want(self, adapter: str | None, detail: str) -> None:
        """Ask for a swap."""
        self._set(detail, wanted=adapter)

    def now_serving(self, adapter: str | None, detail: str) -> None:
        """Say that a swap is done."""
        self._set(detail, serving=adapter)

    def give_up(self, tried: str | None, instead: str | None, detail: str) -> None:
        """Say that `tried` cannot serve, and what is wanted instead; unless something else was wanted meanwhile."""
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE routes SET wanted = ?, detail = ?, updated_at = ? WHERE namespace = ? AND wanted IS ?",
                (instead, detail, time.time(), self._namespace, tried),
            )
        )

    def begin_canary(self, adapter: str, share: float, detail: str) -> bool:
        """Put an adapter on trial; where another one is already, it waits, in place of any other that did. Whether it
        began.
        """

        def work(connection: Connection) -> bool:
            row = connection.execute(
                "SELECT canary, waiting FROM routes WHERE namespace = ?", (self._namespace,)
            ).fetchone()
            canary, waiting = row or (None, None)
            if canary == adapter:
                return True
            if canary is not None:
                self._write(connection, f"{adapter} waits: {canary} is on trial", waiting=adapter)
                return False
            still = None if waiting == adapter else waiting
            self._write(connection, detail, canary=adapter, canary_share=share, canary_since=None, waiting=still)
            return True

        return self._database.write(work)

    def canary_serves(self, adapter: str) -> None:
        """Say that the canary's engine has begun to serve. A later engine of the same trial changes nothing."""
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE routes SET canary_since = ?, detail = ? WHERE namespace = ? AND canary = ?"
                " AND canary_since IS NULL",
                (time.time(), f"{adapter} serves a share of the sessions", self._namespace, adapter),
            )
        )

    def end_canary(self, adapter: str, detail: str, *, to_all: bool) -> bool:
        """End the trial of this adapter: it is wanted for all, or for none. False where it is not on trial any more."""

        def work(connection: Connection) -> bool:
            row = connection.execute("SELECT canary FROM routes WHERE namespace = ?", (self._namespace,)).fetchone()
            if row is None or row[0] != adapter:
                return False
            ended = {"canary": None, "canary_share": 0.0, "canary_since": None}
            self._write(connection, detail, **ended, **({"wanted": adapter} if to_all else {}))
            return True

        return self._database.write(work)

    def take_waiting(self) -> str | None:
        """The adapter that waits, if no trial is under way; it waits no longer."""

        def work(connection: Connection) -> str | None:
            row = connection.execute(
                "SELECT waiting FROM routes WHERE namespace = ? AND canary IS NULL", (self._namespace,)
            ).fetchone()
            if row is None or row[0] is None:
                return None
            connection.execute("UPDATE routes SET waiting = NULL WHERE namespace = ?", (self._namespace,))
            return str(row[0])

        return self._database.write(work)

    def stop_waiting(self, adapter: str) -> None:
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE routes SET waiting = NULL WHERE namespace = ? AND waiting = ?", (self._namespace, adapter)
            )
        )

    def _set(self, detail: str, **columns: str | None) -> None:
        self._database.write(lambda connection: self._write(connection, detail, **columns))

    def _write(self, connection: Connection, detail: str, **columns: str | float | None) -> None:
        values = {**columns, "detail": detail, "updated_at": time.time()}
        names = ", ".join(values)
        changes = ", ".join(f"{name} = excluded.{name}" for name in values)
        connection.execute(
            f"INSERT INTO routes (namespace, {names}) VALUES (?{', ?' * len(values)})"
            f" ON CONFLICT DO UPDATE SET {changes}",
            (self._namespace, *values.values()),
        )
