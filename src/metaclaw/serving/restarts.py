"""When an engine that ended is started again: at once at first, then after pauses that double. Pure but for its counts.

In: the moments at which it ended or did not start. Out: how long to wait from then, and what there is to tell of it.
"""

from __future__ import annotations

FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.5, 30.0
CALM_SECONDS = 60.0  # an engine that lived this long is no part of the trouble before it
ADAPTER_TRIES = 5  # in a row, before an adapter that is refused gives way to the base model


class Restarts:
    """`count` is of all engines that ended by themselves since we began; `in_a_row` of those since the last calm, with
    failed starts; `refusals` of the starts since one succeeded that failed by what was to be served.
    """

    def __init__(self) -> None:
        self.count = 0
        self.in_a_row = 0
        self.refusals = 0
        self.last_failure = ""
        self._began = 0.0
        self._due = 0.0

    def began(self, now: float) -> None:
        """An engine serves."""
        self._began = now
        self.refusals = 0

    def ended(self, now: float, why: str) -> None:
        """It does not any more, and nobody asked for that."""
        self.count += 1
        if now - self._began >= CALM_SECONDS:
            self.in_a_row = 0
        self.failed(now, why)

    def failed(self, now: float, why: str) -> None:
        """It ended, or did not start."""
        self.in_a_row += 1
        self.last_failure = why
        pause = FIRST_PAUSE_SECONDS * 2.0 ** (self.in_a_row - 2) if self.in_a_row > 1 else 0.0
        self._due = now + min(LONGEST_PAUSE_SECONDS, pause)

    def refused(self, now: float, why: str) -> None:
        """It did not start, and that was by what it was to serve."""
        self.refusals += 1
        self.failed(now, why)

    def gave_way(self) -> None:
        """What was refused is not tried any more: another one is, at once."""
        self.refusals = 0
        self._due = 0.0

    def seconds_left(self, now: float) -> float:
        """Until the next start may be tried."""
        return max(0.0, self._due - now)
