"""A child process that reports in JSON lines: the trainer, and the preparation of its weights.

Pausing stops the process where it stands (SIGSTOP): the processor is free at once, the memory stays, and nothing has to
be computed again. The child watches its stdin and ends when this process is gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from metaclaw.errors import ChildInterruptedError, TrainingError

Event = Mapping[str, Any]
STOP_SECONDS = 30.0
INTERRUPTED = 75  # the exit code of a child that was asked to stop and has kept its place
SHORT_SPIN = {"GOMP_SPINCOUNT": "1000"}  # threads that spin while they wait starve an engine beside them


class ReportingProcess:
    """One `python -m module arguments…`, `secrets` in its environment. `run` starts it and returns its `done`."""

    def __init__(self, module: str, *arguments: str, secrets: Mapping[str, str] | None = None) -> None:
        self._command = (sys.executable, "-m", module, *arguments)
        self._secrets = dict(secrets or {})
        self._process: asyncio.subprocess.Process | None = None
        self._paused = False

    async def run(self, on_event: Callable[[Event], None]) -> Event:
        """Start, report, and return the `done` event.

        Raises `ChildInterruptedError` for a child that was killed or asked to stop, else `TrainingError` with what it
        said last.
        """
        self._process = process = await asyncio.create_subprocess_exec(
            *self._command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 20,
            env=SHORT_SPIN | os.environ | self._secrets,
            preexec_fn=os.setpgrp,  # as for the learner
        )
        if self._paused:
            self.pause()
        assert process.stdout and process.stderr  # noqa: S101 - both are pipes
        said: deque[str] = deque(maxlen=20)
        try:
            last, _ = await asyncio.gather(_events(process.stdout, on_event), _keep(process.stderr, said))
            code = await process.wait()
        except ValueError as error:
            raise TrainingError(f"{self._command[2]} printed a line that is too long to be an event.") from error
        finally:
            await self._end(process)
        if last.get("event") == "error":
            raise TrainingError(str(last.get("message")))
        if code < 0 or code == INTERRUPTED:
            raise ChildInterruptedError(f"{self._command[2]} was stopped from outside (code {code}).")
        if code or last.get("event") != "done":
            raise TrainingError(f"{self._command[2]} ended with code {code}: {' '.join(said)[-600:]}")
        return last

    def pause(self) -> None:
        self._paused = True
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._paused = False
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process and self._process.returncode is None:
            self._process.send_signal(number)

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        if process.returncode is None:
            process.send_signal(signal.SIGCONT)
            process.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), STOP_SECONDS)
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _events(stream: asyncio.StreamReader, on_event: Callable[[Event], None]) -> Event:
    last: Event = {}
    async for line in stream:
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a library's print is not an event
        if isinstance(event, dict):
            last = event
            on_event(event)
    return last


async def _keep(stream: asyncio.StreamReader, said: deque[str]) -> None:
    async for line in stream:
        said.append(line.decode(errors="replace").strip())
