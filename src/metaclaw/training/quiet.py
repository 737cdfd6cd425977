"""What is done only while nobody is there: it waits for the user to leave, and is broken off and done again when not.

A question that goes on would keep the user's own request waiting for a place in the engine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Quietly(Protocol):
    """Puts a question to a model, from the beginning each time that the user has come and gone. Returns its answer."""

    async def __call__(self, question: Callable[[], Coroutine[Any, Any, T]], /) -> T: ...


class Quiet:
    """Quiet at first. `begin` and `end` are told to it."""

    def __init__(self) -> None:
        self._begun, self._ended = asyncio.Event(), asyncio.Event()
        self.begin()

    @property
    def lasts(self) -> bool:
        return self._begun.is_set()

    def begin(self) -> None:
        self._ended.clear()
        self._begun.set()

    def end(self) -> None:
        self._begun.clear()
        self._ended.set()

    async def wait(self) -> None:
        """Until it is quiet."""
        await self._begun.wait()

    async def ask(self, question: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """A `Quietly`."""
        while True:
            await self._begun.wait()
            asked, ended = asyncio.create_task(question()), asyncio.create_task(self._ended.wait())
            try:
                await asyncio.wait((asked, ended), return_when=asyncio.FIRST_COMPLETED)
                if asked.done():
                    return asked.result()
            finally:
                asked.cancel()
                ended.cancel()
                await asyncio.gather(asked, ended, return_exceptions=True)
