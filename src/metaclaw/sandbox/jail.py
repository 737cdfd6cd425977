"""A worker: one interpreter in a bubblewrap jail, started ahead, for one call. Linux only.

`Worker.start` returns when the process waits behind all its locks (`jail_locks`); `run` serves one call; `end` leaves
nothing of it. What the worker answers is a hostile program's word, and is read as such.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import json
import math
import os
import platform
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from metaclaw.errors import SandboxError
from metaclaw.sandbox import jail_root, seccomp
from metaclaw.sandbox.values import FILE, Call, EndedBy, Limits, Result, failed, returned, stopped

ENGINE = "strong"
INSTALL = "Install bubblewrap (Debian and Ubuntu: apt-get install bubblewrap; Fedora: dnf install bubblewrap)."
START_SECONDS = 20.0
WORK_BYTES = 16 << 20
NICENESS = 5  # a busy program gives way to the requests beside it
FIRST_UID, UIDS = 64_000, 1_000  # as root, each worker is a user of its own: nobody's, and not its neighbour's
NAMESPACES = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try")
_uids = itertools.cycle(range(FIRST_UID, FIRST_UID + UIDS))


def command() -> list[str]:
    """bubblewrap's command line, less what `Worker.start` adds. SandboxError where a jail cannot be built.

    The worker keeps the right to mount for its first steps, and root keeps its user id: it mounts its own folder and
    drops both itself (`jail_locks`). Root needs no user namespace, and works where these are switched off.
    """
    if sys.platform != "linux" or platform.machine() not in seccomp.AUDIT_ARCH:
        raise SandboxError(f"The strong sandbox is for Linux on {' and '.join(seccomp.AUDIT_ARCH)} only.")
    bubblewrap = shutil.which("bwrap")
    if bubblewrap is None:
        raise SandboxError(f"There is no command bwrap. {INSTALL}")
    try:
        inside = jail_root.mounts()
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        raise SandboxError(f"The strong sandbox cannot make out this Python's libraries: {error}") from error
    root = os.geteuid() == 0
    user = ["--unshare-user", "--uid", str(FIRST_UID), "--gid", str(FIRST_UID)]
    capabilities = ["CAP_SYS_ADMIN", *(["CAP_SETUID", "CAP_SETGID"] if root else [])]
    return [
        bubblewrap, *NAMESPACES, *([] if root else user), "--die-with-parent", "--new-session", "--hostname", "sandbox",
        "--cap-drop", "ALL", *(word for name in capabilities for word in ("--cap-add", name)),
        *inside, "--dir", "/work", "--remount-ro", "/", "--chdir", "/",
    ]


class Worker:
    """A jailed process that has given everything up and waits for its one call."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.landlock = 0  # its version in this kernel, 0 for none: the jail does not depend on it
        self._inner: int | None = None  # pidfd of the jail's first process: when it goes, all of the jail goes

    @classmethod
    async def start(cls, jail: Sequence[str], limits: Limits) -> Worker:
        """Start one, and wait until its locks hold. SandboxError, with what bubblewrap or the worker said, if not."""
        # No pipe: where its reader has died, bubblewrap would give up and leave its inner process waiting for ever.
        with os.fdopen(os.memfd_create("child-pid"), "rb") as told:
            try:
                process = await asyncio.create_subprocess_exec(
                    *(*jail, "--info-fd", str(told.fileno()), "--", *jail_root.interpreter()),
                    stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
                    env={}, cwd="/", pass_fds=(told.fileno(),), limit=8 * limits.output_bytes + (1 << 16),
                    start_new_session=True,  # Ctrl-C is for us, who then end it in order
                )
            except OSError as error:
                raise SandboxError(f"bubblewrap does not start: {error}. {INSTALL}") from error
            worker = cls(process)
            try:
                async with asyncio.timeout(START_SECONDS):
                    await worker._become_ready(limits)
                told.seek(0)
                worker._inner = os.pidfd_open(json.load(told)["child-pid"])
            except (OSError, ValueError, KeyError) as error:
                await worker.end()
                reason = await worker._said() or str(error) or f"it was not ready after {START_SECONDS:g} s"
                raise SandboxError(f"The jail does not start: {reason}") from error
            except BaseException:
                await worker.end()
                raise
        return worker

    @property
    def alive(self) -> bool:
        """Whether the jail's first process still runs, as the kernel knows it now."""
        if self._inner is None:
            return False
        exited = select.poll()
        exited.register(self._inner, select.POLLIN)
        return not exited.poll(0)

    async def run(self, call: Call, limits: Limits) -> Result:
        """Serve the call. However it ends, the worker is of no further use: `end` it."""
        started = time.monotonic()
        request = {"file": FILE, "code": call.code, "function": call.function, "arguments": dict(call.arguments)}
        try:
            async with asyncio.timeout(limits.seconds):
                line = await self._ask(request)
        except TimeoutError:
            return stopped("time", "", time.monotonic() - started, ENGINE, limits)
        except ValueError:  # longer than any answer that keeps to the limits
            return stopped("output", "", time.monotonic() - started, ENGINE, limits)
        return read(line, time.monotonic() - started, limits)

    def kill(self) -> None:
        """End what runs in it, at once; a call under way comes back as crashed.

        Not by way of bubblewrap's outer process, which collects the inner one. A worker that is not ready yet finds its
        input at an end, and goes by itself.
        """
        assert self._process.stdin  # noqa: S101 - a pipe
        self._process.stdin.close()
        inner, self._inner = self._inner, None
        if inner is not None:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(inner, signal.SIGKILL)
            os.close(inner)

    async def end(self) -> None:
        """Kill it, and wait until nothing is left."""
        self.kill()
        try:
            async with asyncio.timeout(START_SECONDS):
                await self._gone()
        except TimeoutError:  # it hangs in its beginnings
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._gone()

    async def _gone(self) -> None:
        assert self._process.stdout  # noqa: S101 - a pipe
        while await self._process.stdout.read(1 << 16):
            pass  # an answer that nobody reads would keep `wait` waiting
        await self._process.wait()

    async def _become_ready(self, limits: Limits) -> None:
        answer = json.loads(await self._ask(_setup(limits)) or b"{}")
        if answer.get("ready") is not True:
            raise ValueError("its worker ended before it was ready")
        self.landlock = int(answer["landlock"])

    async def _ask(self, message: object) -> bytes:
        """Send a line and wait for one; empty where the process is gone. ValueError for one that is too long."""
        assert self._process.stdin and self._process.stdout  # noqa: S101 - both are pipes
        with contextlib.suppress(ConnectionError):
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            await self._process.stdin.drain()
        return await self._process.stdout.readline()

    async def _said(self) -> str:
        assert self._process.stderr  # noqa: S101 - a pipe
        return (await self._process.stderr.read(1 << 16)).decode(errors="replace").strip()[-500:]


def read(line: bytes, seconds: float, limits: Limits) -> Result:
    """The result that a worker's answer means. The program could have written it itself, so nothing is believed."""
    try:
        answer = json.loads(line or b"{}")
    except (ValueError, RecursionError):
        answer = {}
    fields = {key: value for key, value in answer.items() if isinstance(value, str)} if isinstance(answer, dict) else {}
    stdout = fields.get("stdout", "").encode(errors="replace")[: limits.output_bytes].decode(errors="ignore")
    if "value" in fields:
        return returned(fields["value"], stdout, seconds, ENGINE, limits)
    if "error" in fields:
        return failed(fields["error"].encode(errors="replace").decode(), stdout, seconds, ENGINE)
    told: dict[str, EndedBy] = {"memory": "memory", "output": "output"}
    return stopped(told.get(fields.get("ended_by", ""), "crash"), stdout, seconds, ENGINE, limits)


def _setup(limits: Limits) -> dict[str, object]:
    """What the worker is told before anything else."""
    return {
        "uid": next(_uids) if os.geteuid() == 0 else None,
        "memory_bytes": limits.memory_mb << 20,
        "cpu_seconds": 2 * math.ceil(limits.seconds) + 1,  # only if we could not end it ourselves
        "output_bytes": limits.output_bytes,
        "work_bytes": WORK_BYTES,
        "nice": NICENESS,
        "filter": base64.b64encode(seccomp.program(platform.machine())).decode(),
    }
