"""The default engine: pydantic-monty, an interpreter of a subset of Python without any way to the outside.

It runs in worker processes of its own pool, so that a crash is theirs. The library's synchronous interface is driven
from threads here: its asynchronous one left four of ten processes aborting at exit (measured, 1.4.0 on Python 3.11).
"""

from __future__ import annotations

import asyncio
import builtins
import contextlib
import json
import os
import re
import signal
import sys
import sysconfig
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from metaclaw.errors import SandboxError
from metaclaw.sandbox.slots import Slots
from metaclaw.sandbox.values import FILE, Call, EndedBy, Limits, Result, failed, returned, stopped

if TYPE_CHECKING:
    import pydantic_monty

ENGINE = "monty"
AT_ONCE = max(2, os.cpu_count() or 1)
GRACE_SECONDS = 0.25  # for the interpreter to notice its own limit, before its process is killed
CALLS_A_PROCESS = 1_000
RECURSION = 500
ARGUMENTS = "_metaclaw_arguments"
# Behind the program, so that its lines keep their numbers and it cannot have changed what is imported here.
CALL = """
import json as _metaclaw_json
_metaclaw_json.dumps({function}(**_metaclaw_json.loads({arguments})), allow_nan=False)
"""
# Errors that a program may see here only because Monty knows less than Python does.
DOUBTFUL = {
    "NotImplementedError", "SyntaxError", "ImportError", "ModuleNotFoundError", "NameError", "AttributeError",
    "TypeError", "PermissionError", "RuntimeError", "RecursionError", "re.PatternError",
}
UNSUPPORTED = re.compile(r"monty syntax parser does not yet support|are not supported|is not supported in this env")
NAMED = re.compile(r"(?:No module named|name) '(\w+)")


@dataclass(frozen=True, slots=True)
class Unsure:
    """The call failed here, and may do better in full Python; `certain` where the program uses what Monty lacks."""

    result: Result
    certain: bool


class MontyEngine:
    """Used on one event loop; whoever made it closes it."""

    name = ENGINE

    def __init__(self, limits: Limits, *, at_once: int = AT_ONCE) -> None:
        self._limits = limits
        self._at_once = at_once
        self._threads = ThreadPoolExecutor(at_once, "monty")
        self._slots = Slots(at_once)
        self._probe = asyncio.Lock()
        self._pool: pydantic_monty.Monty | None = None
        self._missing: str | None = None
        self._running: set[_Run] = set()

    async def missing(self) -> str | None:
        """What keeps this machine from it, and the mend; None where it works. Found out once."""
        async with self._probe:
            if self._pool is None and self._missing is None:
                try:
                    self._pool = await asyncio.to_thread(self._start)
                except (ImportError, OSError, RuntimeError) as error:
                    self._missing = f"Monty does not start: {error}. Run pip install pydantic-monty."
        return self._missing

    async def run(self, call: Call) -> Result | Unsure:
        """Serve the call. SandboxError where Monty does not start."""
        if not self._slots.shut and (reason := await self.missing()) is not None:
            raise SandboxError(reason)
        loop = asyncio.get_running_loop()
        async with self._slots:
            if self._slots.shut or self._pool is None:
                return stopped("close", "", 0.0, ENGINE, self._limits)
            run = _Run(call, self._limits)
            self._running.add(run)
            timer = loop.call_later(self._limits.seconds + GRACE_SECONDS, run.end, "time")
            try:
                return await loop.run_in_executor(self._threads, run, self._pool)
            finally:
                timer.cancel()
                run.end("close")  # where we were cancelled it still runs
                self._running.discard(run)

    async def close(self) -> None:
        """End its processes, also those that are serving: their calls come back as stopped."""
        self._slots.shut = True
        for run in self._running:
            run.end("close")
        await self._slots.emptied()
        await asyncio.to_thread(self._stop)

    def _start(self) -> pydantic_monty.Monty:
        import pydantic_monty  # ten megabytes, which a gateway without code skills can do without

        pool = pydantic_monty.Monty(
            binary_path=_binary(),
            min_processes=1,
            max_processes=self._at_once,
            request_timeout=self._limits.seconds + 1.0,
            max_checkouts_per_worker=CALLS_A_PROCESS,
        )
        return pool.__enter__()

    def _stop(self) -> None:
        self._threads.shutdown()
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.__exit__(None, None, None)


class _Run:
    """One call, in a thread. `end` may come from another one at any time."""

    def __init__(self, call: Call, limits: Limits) -> None:
        self._call = call
        self._limits = limits
        self._lock = threading.Lock()
        self._process: int | None = None  # while a program of ours is in it: afterwards it may serve another
        self._ended_by: EndedBy = ""
        self._printed = bytearray()

    def end(self, why: EndedBy) -> None:
        """Kill the program if it still runs. The first reason counts."""
        with self._lock:
            self._ended_by = self._ended_by or why
            if self._process is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self._process, signal.SIGKILL)

    def __call__(self, pool: pydantic_monty.Monty) -> Result | Unsure:
        import pydantic_monty

        started = time.monotonic()
        try:
            with pool.checkout(script_name=FILE, limits=_limits(self._limits)) as session:
                text = self._feed(session)
        except pydantic_monty.MontyError as error:
            return self._failed(error, time.monotonic() - started)
        if text is None:
            return stopped(self._ended_by, "", 0.0, ENGINE, self._limits)
        return returned(text, self._stdout(), time.monotonic() - started, ENGINE, self._limits)

    def _feed(self, session: pydantic_monty.MontySession) -> str | None:
        """The JSON of the function's value; None where the call was ended before it began."""
        with self._lock:
            if self._ended_by:
                return None
            self._process = session.worker_pid
        try:
            arguments = json.dumps(dict(self._call.arguments))
            code = self._call.code + CALL.format(function=self._call.function, arguments=ARGUMENTS)
            return str(session.feed_run(code, inputs={ARGUMENTS: arguments}, print_callback=self._print))
        finally:
            with self._lock:
                self._process = None

    def _print(self, _stream: str, text: str) -> None:
        """Keep what fits. Past it the program is killed: an error from here would reach it only at its end."""
        data = text.encode()
        room = self._limits.output_bytes - len(self._printed)
        self._printed += data[:room]
        if len(data) > room:
            self.end("output")

    def _stdout(self) -> str:
        return self._printed.decode(errors="ignore")

    def _failed(self, error: pydantic_monty.MontyError, seconds: float) -> Result | Unsure:
        kind, message = type(error.exception()).__name__, str(error)
        ended_by = self._ended_by or limit_passed(kind, message)
        if not ended_by and hasattr(error, "timed_out"):
            ended_by = "time" if error.timed_out else "crash"
        if ended_by:
            return stopped(ended_by, self._stdout(), seconds, ENGINE, self._limits)
        result = failed(_traceback(error, self._call.code.count("\n") + 1), self._stdout(), seconds, ENGINE)
        certain = lacks(kind, message)
        return result if certain is False else Unsure(result, bool(certain))


def limit_passed(kind: str, message: str) -> EndedBy:
    """Which limit Monty itself says was passed. A program that raises the like itself has only its own failure."""
    if kind == "TimeoutError" and "limit exceeded" in message:
        return "time"
    return "memory" if kind == "MemoryError" else ""


def lacks(kind: str, message: str) -> bool | None:
    """Did a program fail because Monty is not all of Python? None where only full Python can tell."""
    if kind not in DOUBTFUL:
        return False
    named = NAMED.search(message)
    if named and kind == "ModuleNotFoundError":
        return named[1] in sys.stdlib_module_names
    if named and kind == "NameError":
        return hasattr(builtins, named[1]) or None
    return UNSUPPORTED.search(message) is not None or None


def _limits(limits: Limits) -> pydantic_monty.ResourceLimits:
    return {
        "max_feed_duration_secs": limits.seconds,
        "max_total_sleep_secs": limits.seconds,
        "max_memory": limits.memory_mb << 20,
        "max_recursion_depth": RECURSION,
    }


def _traceback(error: Any, lines: int) -> str:
    """As Python would tell it, of the program's own `lines`: the call behind them is ours."""
    frames = [frame for frame in error.traceback() if frame.line <= lines][-12:]
    told = [
        f'  File "{FILE}", line {frame.line}, in {frame.function_name}\n    {(frame.source_line or "").strip()}'
        for frame in frames
    ]
    message = error.display("type-msg")
    return "\n".join(["Traceback (most recent call last):", *told, message] if told else [message])


def _binary() -> Path:
    """Monty's worker as it was installed with us, and nothing that the environment could put in its place."""
    for scheme in (sysconfig.get_default_scheme(), f"{os.name}_user"):
        installed = Path(sysconfig.get_path("scripts", scheme), "monty")
        if installed.is_file():
            return installed
    raise FileNotFoundError("its program `monty` is not among this Python's scripts")
