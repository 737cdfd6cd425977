"""Watches the canary: reads how its sessions go, and passes it on or takes it back, by itself. Runs in the learner.

A session counts from its first turn since the canary serves, for a quarter of an hour; whether it failed is then what
the signals say of the turns in that time. Every session is looked at after the same time, so that failures, which are
known sooner than their absence, are not counted sooner.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable

from metaclaw.errors import MetaClawError
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes, RouteState
from metaclaw.serving.trial import Bar, Session, Step, decide, evidence_of, lift_in
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.upstream.route import falls_to

log = logging.getLogger(__name__)

LOOK_SECONDS = 5.0
SESSION_SECONDS = 900.0
MOST_SESSIONS = 5_000


class CanaryWatch:
    """`policy_of` names the policy version of an adapter: the coin is thrown with it. `session_seconds` is how long a
    session counts.
    """

    def __init__(
        self, database: Database, namespace: str, routes: Routes, promotions: Promotions,
        policy_of: Callable[[str], str], bar: Bar, session_seconds: float = SESSION_SECONDS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._routes = routes
        self._promotions = promotions
        self._policy_of = policy_of
        self.bar = bar
        self._session_seconds = session_seconds
        self._now = now
        self._before: tuple[float, int] | None = None  # when a trial began, and the last turn before it

    async def run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.look)
            except MetaClawError as error:
                log.error("the canary could not be looked at, trying again: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    def look(self) -> Step:
        """Decide on what is known now."""
        state = self._routes.state()
        if state.canary is None:
            if state.waiting:  # a process died between a trial's end and the next one's beginning
                self._promotions.next()
            return Step.GO_ON
        if state.canary_since is None:
            return Step.GO_ON
        lift = lift_in(self.sessions(state, state.canary, state.canary_since), state.canary_share)
        step, why = decide(lift, self.seconds_since(state.canary_since), self.bar)
        if step is Step.PASS:
            self._promotions.pass_on(state.canary, why, evidence_of(lift))
        elif step is Step.BACK:
            self._promotions.take_back(state.canary, why, evidence_of(lift))
        return step

    def seconds_since(self, moment: float) -> float:
        return self._now() - moment

    def sessions(self, state: RouteState, canary: str, since: float) -> list[Session]:
        """Those whose time is over, in the order in which they began."""
        policy = self._policy_of(canary)
        rows = self._database.read(
            "WITH begun AS (SELECT session, min(position) AS first, min(created_at) AS at FROM turns"
            "  WHERE position > ?6 AND namespace = ?1 AND kind = 'main' AND created_at >= ?2 GROUP BY session"
            "  HAVING at <= ?3 - ?4 ORDER BY first LIMIT ?5)"
            " SELECT begun.session, json_group_array(json_array(turns.id, turns.status)) FROM begun JOIN turns"
            "  ON turns.namespace = ?1 AND turns.session = begun.session AND turns.kind = 'main'"
            "  AND turns.created_at BETWEEN begun.at AND begun.at + ?4 GROUP BY begun.session ORDER BY begun.first",
            (self._namespace, since, self._now(), self._session_seconds, MOST_SESSIONS, self._last_before(since)),
        )
        return [
            Session(name, falls_to(policy, name, state.canary_share), self._failed(json.loads(turns)))
            for name, turns in rows
        ]

    def _last_before(self, since: float) -> int:
        """The journal's position when a trial began: it is looked up once, since there is no index on times."""
        if self._before is None or self._before[0] != since:
            [[position]] = self._database.read(
                "SELECT coalesce(max(position), 0) FROM turns WHERE created_at < ?", (since - self._session_seconds,)
            )
            self._before = since, int(position)
        return self._before[1]

    def _failed(self, turns: list[tuple[str, int]]) -> bool:
        return any(
            status >= 500 or ledger.outcome_of(self._database, self._namespace, turn_id).failed
            for turn_id, status in turns
        )
