"""Who waits for a first word goes before an engine that is only being started.

Loading takes a processor for seconds, and on a small machine takes it from the engine that serves: measured with two
streams on two cores, a request's first word came up to 185 ms later while another engine was started. So the process
that loads is stopped while a reply that was asked for has not begun, as a trainer is while its user is there; for so
many seconds in all, after which it loads beside them, since a swap has to end as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable, Iterator

MOST_SECONDS = 10.0


class Courtesy:
    """Of one gateway. Used on its event loop only; one engine starts at a time."""

    def __init__(self, most_seconds: float = MOST_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._most_seconds = most_seconds
        self._clock = clock
        self._process: asyncio.subprocess.Process | None = None
        self._awaited = 0
        self._left = 0.0
        self._stopped_at: float | None = None
        self._enough: asyncio.TimerHandle | None = None

    def awaited(self, count: int) -> None:
        """So many replies have been asked for, and have not begun."""
        self._awaited = count
        if self._process is not None:
            self._look()

    @contextlib.contextmanager
    def while_starting(self, process: asyncio.subprocess.Process) -> Iterator[None]:
        """Within the block the process gives way. It runs when the block ends, whatever ends it."""
        self._process, self._left = process, self._most_seconds
        self._look()
        try:
            yield
        finally:
            self._go_on()
            self._process = None

    def _look(self) -> None:
        if self._awaited and self._stopped_at is None and self._left > 0:
            self._stopped_at = self._clock()
            self._signal(signal.SIGSTOP)
            self._enough = asyncio.get_running_loop().call_later(self._left, self._go_on)
        elif not self._awaited:
            self._go_on()

    def _go_on(self) -> None:
        if self._stopped_at is None:
            return
        self._left -= self._clock() - self._stopped_at
        self._stopped_at = None
        if self._enough:
            self._enough.cancel()
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):  # it has ended: whoever starts it will see that
            if self._process:
                self._process.send_signal(number)
