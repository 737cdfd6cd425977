"""`MetaClaw`: the client for programs that wait. Threads may share it."""

from __future__ import annotations

import http.client
import time
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

from metaclaw.client import calls
from metaclaw.client.calls import Call
from metaclaw.client.failures import ClientError, NotReachedError, TimedOutError
from metaclaw.client.replies import Closed, Health, Kept, Status

T = TypeVar("T")


class MetaClaw:
    """`url` is the gateway's, without /v1. Without a `token`, that of the gateway on this machine is looked up.

    `timeout_seconds` is how long a connection, and then the answer, may take. Every method raises `ClientError`.
    """

    def __init__(self, url: str = calls.HERE, token: str | None = None, *, timeout_seconds: float = 10.0) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no http or https URL.")
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._open = partial(kind, parts.hostname, parts.port, timeout=timeout_seconds)
        self._before = parts.path.rstrip("/")
        self._token = calls.known_token() if token is None else token

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is held between two calls."""

    def feedback(
        self, turn_id: str | None = None, *, session: str | None = None, score: float | None = None, text: str = "",
        pattern: str | None = None,
    ) -> Kept:
        """Say what a turn, or the last turn of a session, was worth: a score from -1 to 1, what was wrong in words, a
        regular expression that a right reply matches as a whole. Raises `ValueError` where nothing is said.
        """
        return self._do(calls.feedback(turn_id, session, score, text, pattern))

    def close_session(self, session: str) -> Closed:
        """Say that a conversation is over."""
        return self._do(calls.close_session(session))

    def status(self) -> Status:
        """What runs and what was learned."""
        return self._do(calls.status())

    def health(self) -> Health:
        """How the gateway is; needs no token."""
        return self._do(calls.health())

    def _do(self, call: Call[T]) -> T:
        tries = 0
        while True:
            tries += 1
            try:
                return calls.answer(call, *self._exchange(call))
            except ClientError as failure:
                pause = calls.pause_before_next_try(call, tries, failure)
                if pause is None:
                    raise
            time.sleep(pause)

    def _exchange(self, call: Call[Any]) -> tuple[int, dict[str, str], bytes]:
        """A connection of its own: between two of these calls a kept one would mostly be closed."""
        connection = self._open()
        try:
            try:
                connection.connect()
            except OSError as error:
                raise NotReachedError(f"No gateway can be reached ({error}). Is `metaclaw start` running?") from error
            try:
                connection.request(call.method, self._before + call.path, call.body, call.headers(self._token))
                reply = connection.getresponse()
                return reply.status, {name.lower(): value for name, value in reply.getheaders()}, reply.read()
            except (OSError, http.client.HTTPException) as error:
                raise TimedOutError(f"The gateway did not answer in time, or broke off ({error!r}).") from error
        finally:
            connection.close()
