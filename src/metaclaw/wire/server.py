"""The server's end: it listens, looks after the deadlines of all connections, and ends in good order.

In: a handler, and bytes. Deadlines are looked after by one sweep over all connections: a timer for each request costs
more than that.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from metaclaw.wire.head import date_at
from metaclaw.wire.inbound import Connection, Handler, Refuse
from metaclaw.wire.messages import Reply, Request, Response, Stream


@dataclass(frozen=True, slots=True)
class Limits:
    """`head_seconds`: from a head's first byte to its end, and before the first one. `keep_alive_seconds`: between."""

    head_seconds: float
    keep_alive_seconds: float
    connections: int


class Server:
    """`refuse` makes the JSON body of an error from status, code and text."""

    def __init__(self, handler: Handler, limits: Limits, refuse: Refuse) -> None:
        self.handler = handler
        self.limits = limits
        self.refuse = refuse
        self.connections: set[Connection] = set()
        self.closing = False
        self._emptied: asyncio.Future[None] | None = None
        self._listening: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._date, self._date_at = "", 0

    async def listen(self, host: str, port: int) -> int:
        """Returns the port. Raises `OSError` where it cannot be had."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Connection(self, loop), host, port, backlog=1024)
        self._sweeper = loop.create_task(self._sweep(loop))
        return int(self._listening.sockets[0].getsockname()[1])

    async def close(self, grace_seconds: float) -> None:
        """Take no more, let what is under way end and go out within `grace_seconds`, and cut off what has not."""
        self.closing = True
        if self._listening:
            self._listening.close()
        self._stop_idle()
        ends = asyncio.get_running_loop().time() + grace_seconds
        if tasks := [connection.task for connection in self.connections if connection.task]:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._go_out(ends)
        if self._sweeper:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for connection in [*self.connections]:
            connection.abort()
        await asyncio.sleep(0)

    def forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if self._emptied and not self.connections and not self._emptied.done():
            self._emptied.set_result(None)

    def _stop_idle(self) -> None:
        for connection in [*self.connections]:
            connection.stop_when_idle()

    async def _go_out(self, ends: float) -> None:
        """Wait for what is written to be taken, until `ends`."""
        self._stop_idle()
        if self.connections:
            loop = asyncio.get_running_loop()
            self._emptied = loop.create_future()
            await asyncio.wait([self._emptied], timeout=max(0.0, ends - loop.time()))

    @property
    def date(self) -> str:
        now = int(time.time())
        if now != self._date_at:
            self._date, self._date_at = date_at(now), now
        return self._date

    async def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        shortest = min(self.limits.head_seconds, self.limits.keep_alive_seconds)
        while True:
            await asyncio.sleep(min(1.0, max(0.02, shortest / 5)))
            now = loop.time()
            for connection in [one for one in self.connections if one.deadline < now]:
                connection.too_late(now)
            for connection in [one for one in self.connections if one.has_left()]:
                connection.abort()


__all__ = ["Handler", "Limits", "Reply", "Request", "Response", "Server", "Stream"]
