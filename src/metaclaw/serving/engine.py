"""An engine: one llama.cpp process that serves one policy version on loopback, and the handle to it.

`Engine.start` takes an `EngineSpec` and returns when the model answers; requests go to `url` with `api_key` and are
no business of this module. An engine never changes: a swap starts the next one, moves new requests over, and stops
this one when it is drained.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
import tempfile
from collections.abc import Mapping
from typing import IO, Any

from metaclaw.errors import EngineError, UpstreamError
from metaclaw.serving.courtesy import Courtesy
from metaclaw.serving.engine_worker import EngineSpec
from metaclaw.serving.engines import NoRoomError
from metaclaw.serving.memory import Memory
from metaclaw.upstream.client import UpstreamClient, reply_text
from metaclaw.upstream.route import Route

__all__ = ["Engine", "EngineSpec"]

STOP_SECONDS = 5.0
HEALTH_POLL_SECONDS = 0.05
PROBE_SECONDS = 60.0
PROBE = " ".join(["Say yes."] * 12)
LOG_TAIL_BYTES = 2000
# llama.cpp announces keep-alive, and hangs up after each stream and after 5 s all the same: a request that reuses
# such a connection is lost. Connecting anew on loopback costs about a tenth of a millisecond.
ONE_REQUEST_A_CONNECTION = (("connection", "close"),)


class Engine:
    """A running engine. Whoever started it stops it; if this process dies, the engine ends by itself."""

    def __init__(self, spec: EngineSpec, process: asyncio.subprocess.Process, url: str) -> None:
        self.spec = spec
        self.url = url
        self._process = process

    @classmethod
    async def start(
        cls, spec: EngineSpec, *, timeout_seconds: float, courtesy: Courtesy | None = None
    ) -> Engine:
        """Start a worker and wait until it is healthy; EngineError, with the end of its log, if it does not get there;
        NoRoomError where the system gives no process, or no file for the log.

        Nothing is left running after an error or a cancellation. Where there is a `courtesy`, it loads only while
        nobody waits for a first word.
        """
        try:
            with _log_file(spec) as log:
                return await cls._started(spec, await _spawn(log), log, timeout_seconds, courtesy)
        except OSError as error:
            raise NoRoomError(f"The engine for {spec.policy} cannot be started here: {error}") from error

    @classmethod
    async def _started(
        cls, spec: EngineSpec, process: asyncio.subprocess.Process, log: IO[bytes], timeout_seconds: float,
        courtesy: Courtesy | None,
    ) -> Engine:
        try:
            with _giving_way(process, courtesy):
                async with asyncio.timeout(timeout_seconds):
                    engine = cls(spec, process, await _announced_url(spec, process))
                    await engine._healthy()
                    return engine
        except (EngineError, TimeoutError, OSError) as error:
            await _end(process)
            reason = str(error) or f"not ready after {timeout_seconds:g} s"
            raise EngineError(f"The engine for {spec.policy} did not start: {reason}{_tail(log)}") from error
        except BaseException:
            await _end(process)
            raise

    @property
    def policy(self) -> str:
        """The policy version that it serves: the `model` of every reply."""
        return self.spec.policy

    @property
    def api_key(self) -> str:
        return self.spec.api_key

    @property
    def route(self) -> Route:
        """How requests reach it."""
        return Route(
            f"{self.url}/v1", self.policy, api_key=self.api_key, headers=ONE_REQUEST_A_CONNECTION, tools_as_text=True,
            tells_tokens=True,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    def told(self) -> Mapping[str, Any]:
        """What there is to say of it, for people."""
        return {"pid": self.pid, "resident_bytes": Memory().resident_bytes(self.pid)}

    def why_ended(self) -> str:
        """Why it is not alive."""
        code = self._process.returncode
        if code is not None and code < 0:
            hint = " (the kernel does so where memory runs out)" if code == -signal.SIGKILL else ""
            return f"the engine of {self.policy} was ended by signal {-code}{hint}"
        return f"the engine of {self.policy} ended with exit code {code}"

    async def probe(self) -> str:
        """One greedy token, past every cache: proof that it generates. EngineError if it does not.

        The prompt is long enough that what is asked next finds llama.cpp ready for prompts: its first one of more than
        some thirty tokens took 70 ms longer than the next, on the smallest model.
        """
        body = {
            "messages": [{"role": "user", "content": PROBE}],
            "max_tokens": 1,
            "temperature": 0,
            "cache_prompt": False,
        }
        try:
            async with asyncio.timeout(PROBE_SECONDS), self._client() as client:
                reply = await client.json(self.route, "/chat/completions", body)
            said = reply_text(reply)
        except (UpstreamError, TimeoutError) as error:
            reason = str(error) or f"no reply in {PROBE_SECONDS:g} s"
            raise EngineError(f"The engine for {self.policy} does not answer: {reason}") from error
        if reply.get("model") != self.policy:
            raise EngineError(f"The engine for {self.policy} answers as {reply.get('model')}.")
        return said

    def giving_way(self, courtesy: Courtesy | None) -> contextlib.AbstractContextManager[None]:
        """Within the block, who waits for a first word of another engine goes first."""
        return _giving_way(self._process, courtesy)

    async def stop(self) -> None:
        """End it: by asking, and after 5 s by force. Requests still in it are cut, so drain first."""
        await _end(self._process)

    async def wait(self) -> int:
        """Wait until it has ended, for whatever reason; its exit code, negative for a signal."""
        return await self._process.wait()

    async def _healthy(self) -> None:
        route = Route(self.url, self.policy, headers=ONE_REQUEST_A_CONNECTION)
        async with self._client() as client:
            while True:
                with contextlib.suppress(UpstreamError):  # it does not listen yet
                    async with client.request("GET", route, "/health", None) as reply:
                        if reply.status == 200:
                            return
                if not self.alive:
                    raise EngineError("it ended while it was loading")
                await asyncio.sleep(HEALTH_POLL_SECONDS)

    def _client(self) -> UpstreamClient:
        return UpstreamClient(connect_timeout_seconds=PROBE_SECONDS, idle_timeout_seconds=PROBE_SECONDS)


def _giving_way(
    process: asyncio.subprocess.Process, courtesy: Courtesy | None
) -> contextlib.AbstractContextManager[None]:
    return courtesy.while_starting(process) if courtesy else contextlib.nullcontext()


async def _spawn(log: IO[bytes]) -> asyncio.subprocess.Process:
    """A worker in a group of its own, so that Ctrl-C at a terminal reaches the gateway, which drains, and not it."""
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", EngineSpec.__module__),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=log,
        preexec_fn=os.setpgrp,
    )


async def _announced_url(spec: EngineSpec, process: asyncio.subprocess.Process) -> str:
    """Hand the spec over and read the worker's one line."""
    assert process.stdin and process.stdout  # noqa: S101  both were asked for as pipes
    process.stdin.write(spec.to_json().encode() + b"\n")
    line = await process.stdout.readline()
    try:
        announced = json.loads(line or b"{}")
    except ValueError as error:
        raise EngineError(f"its worker said {line!r}") from error
    if "url" not in announced:
        raise EngineError(announced.get("error", "its worker ended without a word"))
    return str(announced["url"])


async def _end(process: asyncio.subprocess.Process) -> None:
    """Close stdin, which the worker obeys at once, and kill what has not ended in time."""
    assert process.stdin  # noqa: S101
    process.stdin.close()
    try:
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _log_file(spec: EngineSpec) -> IO[bytes]:
    """The log that the spec asks for, or one without a name that lives as long as a process holds it."""
    if spec.log_path is None:
        return tempfile.TemporaryFile()
    spec.log_path.parent.mkdir(parents=True, exist_ok=True)
    return spec.log_path.open("a+b")


def _tail(log: IO[bytes]) -> str:
    """The log's last lines, introduced, or nothing."""
    log.seek(max(0, log.seek(0, 2) - LOG_TAIL_BYTES))
    text = log.read().decode(errors="replace").strip()
    return f"\nThe end of its log:\n{text}" if text else ""
