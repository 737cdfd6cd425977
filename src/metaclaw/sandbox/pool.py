"""The strong engine: jailed workers that wait ready, each for one call, and new ones for those that were used.

Whether this machine can jail at all is found out once, with a real worker that tries to break out (`missing`).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from metaclaw.errors import SandboxError
from metaclaw.sandbox.jail import ENGINE, Worker, command
from metaclaw.sandbox.slots import Slots
from metaclaw.sandbox.values import Call, Limits, Result, stopped

WAITING = 2  # workers kept ready
AT_ONCE = 4  # calls served at a time; the others wait
PROBE_SECONDS = 20.0
PROBE = """
import os, socket
def attempts():
    yield "opens sockets", socket.socket
    yield "starts processes", lambda: os.fork() or os._exit(0)
    yield "reads this machine's files", lambda: os.open("/etc/passwd", os.O_RDONLY)
    yield "writes outside its folder", lambda: os.open("/python/written", os.O_CREAT | os.O_WRONLY)
    yield "is root", lambda: os.setuid(0)
def leaks():
    found = []
    for what, attempt in attempts():
        try:
            attempt()
            found.append(what)
        except OSError:
            pass
    with open("own", "w") as own:
        own.write("here it may")
    return found
"""


class StrongEngine:
    """Full Python, in jails. Used on one event loop; whoever made it closes it."""

    name = ENGINE

    def __init__(self, limits: Limits, *, waiting: int = WAITING, at_once: int = AT_ONCE) -> None:
        self._limits = limits
        self._keep = waiting
        self._slots = Slots(at_once)
        self._probe = asyncio.Lock()
        self._jail: Sequence[str] = ()
        self._missing: str | None = None
        self._waiting: deque[asyncio.Task[Worker]] = deque()  # started, or being started
        self._running: set[Worker] = set()
        self._ending: set[asyncio.Task[None]] = set()

    async def missing(self) -> str | None:
        """What keeps this machine from it, and the mend; None where it works. Found out once."""
        async with self._probe:
            if not self._jail and self._missing is None:
                try:
                    self._jail = await asyncio.to_thread(command)
                    await self._try_to_break_out()
                    self._refill()
                except SandboxError as error:
                    self._missing = str(error)
        return self._missing

    async def run(self, call: Call) -> Result:
        """Serve the call in a worker of its own. SandboxError where this machine cannot jail, or no longer can."""
        if not self._slots.shut and (reason := await self.missing()) is not None:
            raise SandboxError(reason)
        async with self._slots:
            if self._slots.shut:
                return stopped("close", "", 0.0, ENGINE, self._limits)
            worker = await self._take()
            try:
                result = await worker.run(call, self._limits)
            finally:
                self._running.discard(worker)
                self._end(worker)
                self._refill()  # only now: starting a process beside the call would slow it down
        if self._slots.shut and result.ended_by == "crash":
            return stopped("close", "", result.seconds, ENGINE, self._limits)
        return result

    async def warm_up(self) -> None:
        """Wait until as many workers are ready as should be, or could not be started."""
        await self.missing()
        if self._waiting:
            await asyncio.wait(self._waiting)

    async def close(self) -> None:
        """End every worker, also those that are serving: their calls come back as stopped."""
        self._slots.shut = True
        for worker in self._running:
            worker.kill()
        await self._slots.emptied()
        for started in await asyncio.gather(*self._waiting, return_exceptions=True):
            if isinstance(started, Worker):
                self._end(started)
        self._waiting.clear()
        if self._ending:
            await asyncio.wait(self._ending)

    async def _try_to_break_out(self) -> None:
        patient = replace(self._limits, seconds=PROBE_SECONDS)
        worker = await Worker.start(self._jail, patient)
        try:
            tried = await worker.run(Call(PROBE, "leaks"), patient)
        finally:
            await worker.end()
        if not tried.ok or tried.value:
            self._jail = ()
            raise SandboxError(f"The jail does not hold here: {tried.error or f'a program {tried.value}'}.")

    async def _take(self) -> Worker:
        """A worker that waits, or the next one to be ready. What failed to start, or died waiting, is tried again."""
        while True:
            starting = self._waiting.popleft() if self._waiting else self._start()
            if starting.done() and starting.exception():
                continue
            try:
                worker = await asyncio.shield(starting)
            except asyncio.CancelledError:
                self._waiting.append(starting)  # whoever was to have it is gone; the next one takes it
                raise
            if worker.alive:
                break
            self._end(worker)
        self._running.add(worker)
        if self._slots.shut:
            worker.kill()
        return worker

    def _start(self) -> asyncio.Task[Worker]:
        return asyncio.create_task(Worker.start(self._jail, self._limits))

    def _refill(self) -> None:
        """Start in the background what is missing from those that wait."""
        while not self._slots.shut and len(self._waiting) < self._keep:
            self._waiting.append(self._start())

    def _end(self, worker: Worker) -> None:
        task = asyncio.create_task(worker.end())
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
