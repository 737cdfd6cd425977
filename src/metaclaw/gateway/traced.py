"""Turns with their place in the client's trace: in front of `TurnHandler` where telemetry is on, and not there else."""

from __future__ import annotations

from metaclaw.dialects.base import Dialect
from metaclaw.gateway.turn import TurnHandler
from metaclaw.telemetry.trace_context import CURRENT, continued
from metaclaw.wire.messages import Reply, Request


class TracedTurns:
    """What goes upstream names our span as its parent; who keeps the turn finds the place in `CURRENT`."""

    def __init__(self, turns: TurnHandler) -> None:
        self._turns = turns

    async def handle(self, request: Request, dialect: Dialect) -> Reply:
        before = CURRENT.set(continued(request.headers))
        try:
            return await self._turns.handle(request, dialect)
        finally:
            CURRENT.reset(before)
