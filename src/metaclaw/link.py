"""The gateway's line to the learner: a child process that is told of activity, and started again when it dies.

Lines of JSON go to its stdin; nothing comes back but log lines, since what the learner learns goes through the store.
Sending never waits: when the learner is stuck, lines are dropped and counted, and the gateway goes on. News is told at
once, and what comes soon after it in one line together: a line for each request cost the gateway half of its time under
load. While news keeps coming, the pauses between the lines grow, so that the learner, which may share our processor,
takes in many turns at once. What a user waits for is told at once all the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)

MAX_UNREAD_BYTES = 64 * 1024
HEARTBEAT_SECONDS = 1.0
TELL_SECONDS = 0.01  # the first pause
MOST_TELL_SECONDS = 0.1
RESTART_SECONDS = 1.0
STOP_SECONDS = 40.0


class LearnerLink:
    """Owned by the gateway's process. `greeting` is the first line that each learner gets."""

    def __init__(self, greeting: Mapping[str, Any]) -> None:
        self._greeting = greeting
        self._process: asyncio.subprocess.Process | None = None
        self._under_way = 0
        self._news: dict[str, Any] = {}
        self._teller: asyncio.TimerHandle | None = None
        self._pause = TELL_SECONDS
        self.starts = 0
        self.dropped = 0

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def activity(self, under_way: int) -> None:
        """Tell how many of the user's requests are under way."""
        self._under_way = under_way
        self._news["under_way"] = under_way
        if self._teller is None:
            self._tell()

    def recorded(self, *, urgent: bool = False) -> None:
        """Tell that there is something new in the journal; at once, where somebody waits for what comes of it."""
        self._news["recorded"] = True
        if urgent or self._teller is None:
            self._tell()

    def _tell(self) -> None:
        """Say what is new, and be silent for a while; then again, if something came."""
        if self._teller:
            self._teller.cancel()
            self._teller = None
        if not self._news:
            self._pause = TELL_SECONDS
            return
        self._send(self._news)
        self._news = {}
        self._teller = asyncio.get_running_loop().call_later(self._pause, self._tell)
        self._pause = min(2 * self._pause, MOST_TELL_SECONDS)

    async def run(self) -> None:
        """Keep a learner running until cancelled."""
        try:
            while True:
                with contextlib.suppress(OSError):  # no process to be had just now is no reason to stop serving
                    await self._live_once()
                code = self._process.returncode if self._process else None
                log.error("the learner ended (exit code %s); starting it again. Requests go on meanwhile.", code)
                await asyncio.sleep(RESTART_SECONDS)
        finally:
            await self._stop()

    async def _live_once(self) -> None:
        self.starts += 1
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "metaclaw.learner"),
            stdin=asyncio.subprocess.PIPE,
            preexec_fn=os.setpgrp,  # Ctrl-C is for the gateway, which then ends it in order; see `leash.step_aside`
        )
        self._send(self._greeting)
        self._send({"under_way": self._under_way})
        beat = asyncio.create_task(self._beat())
        try:
            await self._process.wait()
        finally:
            beat.cancel()

    async def _beat(self) -> None:
        """Say again how many requests are under way while there are any, in case a line was dropped."""
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            if self._under_way:
                self._send({"under_way": self._under_way})

    def _send(self, message: Mapping[str, Any]) -> None:
        pipe = self._process.stdin if self._process else None
        if pipe is None or pipe.is_closing() or pipe.transport.get_write_buffer_size() > MAX_UNREAD_BYTES:
            self.dropped += 1
            return
        pipe.write(json.dumps(message).encode() + b"\n")

    async def _stop(self) -> None:
        """End of input is the learner's sign to stop."""
        if self._teller:
            self._teller.cancel()
        process = self._process
        if process is None or process.returncode is not None:
            return
        if process.stdin:
            process.stdin.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), STOP_SECONDS)
        if process.returncode is None:
            process.kill()
            await process.wait()
