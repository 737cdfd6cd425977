"""`AsyncMetaClaw`: the client for programs on an event loop."""

from __future__ import annotations

import asyncio
from typing import Any, Self, TypeVar

from metaclaw.client import calls
from metaclaw.client.calls import Call
from metaclaw.client.failures import ClientError, NotReachedError, TimedOutError
from metaclaw.client.replies import Closed, Health, Kept, Status
from metaclaw.errors import UnreachableError, WireError
from metaclaw.wire.client import Connections
from metaclaw.wire.head import Headers

T = TypeVar("T")


class AsyncMetaClaw:
    """As `MetaClaw`, with `await`. Used on one event loop; close it, or use it as an asynchronous context manager."""

    def __init__(self, url: str = calls.HERE, token: str | None = None, *, timeout_seconds: float = 10.0) -> None:
        self._url = url.rstrip("/")
        self._token = calls.known_token() if token is None else token
        self._timeout_seconds = timeout_seconds
        self._connections = Connections(timeout_seconds, timeout_seconds)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connections.close()

    async def feedback(
        self, turn_id: str | None = None, *, session: str | None = None, score: float | None = None, text: str = "",
        pattern: str | None = None,
    ) -> Kept:
        return await self._do(calls.feedback(turn_id, session, score, text, pattern))

    async def close_session(self, session: str) -> Closed:
        return await self._do(calls.close_session(session))

    async def status(self) -> Status:
        return await self._do(calls.status())

    async def health(self) -> Health:
        return await self._do(calls.health())

    async def _do(self, call: Call[T]) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                return calls.answer(call, *await self._exchange(call))
            except ClientError as failure:
                pause = calls.pause_before_next_try(call, tries, failure)
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def _exchange(self, call: Call[Any]) -> tuple[int, Headers, bytes]:
        headers = Headers(call.headers(self._token))
        connected = False
        try:
            async with asyncio.timeout(2 * self._timeout_seconds):
                reply = await self._connections.ask(call.method, self._url, call.path, headers, call.body)
                connected = True
                return reply.status, reply.headers, await reply.read()
        except UnreachableError as error:
            raise NotReachedError(f"No gateway can be reached ({error}). Is `metaclaw start` running?") from error
        except (TimeoutError, WireError) as error:
            where = "broke off its answer" if connected else "did not answer in time"
            raise TimedOutError(f"The gateway {where} ({error!r}).") from error
