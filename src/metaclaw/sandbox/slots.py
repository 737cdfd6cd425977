"""Places for calls: an engine serves so many at a time, the others wait, and after its end none is served."""

from __future__ import annotations

import asyncio


class Slots:
    """`async with` it, then look whether it was `shut` meanwhile."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._free = asyncio.Semaphore(count)
        self.shut = False

    async def __aenter__(self) -> None:
        await self._free.acquire()

    async def __aexit__(self, *_: object) -> None:
        self._free.release()

    async def emptied(self) -> None:
        """Wait until nobody holds a place, nor waits for one."""
        for _ in range(self._count):
            await self._free.acquire()
        for _ in range(self._count):
            self._free.release()
