"""What the sandbox costs and what it holds: calls timed, and every attack run on both engines, and on none.

`python -m metaclaw.bench.sandbox` writes `bench/results/sandbox.json`. In-process, unlike the other benchmarks: it asks
for a call within a millisecond, which the HTTP door would hide.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import metaclaw
from metaclaw.bench.results import Check, share, write
from metaclaw.bench.sandbox_attacks import ATTACKS, Attack
from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.errors import SandboxError
from metaclaw.sandbox import Call, Result, Sandbox

EngineName = Literal["monty", "strong"]

SKILL = '''
import re

def file_name(title: str, day: str) -> str:
    """The house's name for a note: date first, words with underscores."""
    words = re.findall("[a-z0-9]+", title.lower())
    return day.replace("-", "") + "_" + "_".join(words) + ".md"
'''
CALL = Call(SKILL, "file_name", {"title": "Budget review, second part", "day": "2026-03-04"})
EXPECTED = "20260304_budget_review_second_part.md"
ATTACK_SECONDS = 1.0
ATTACK_MARGIN_SECONDS = 2.0  # for a slow machine to kill and to answer
MONTY_BAR_MS, STRONG_BAR_MS, ATTACKS_BAR = 1.0, 15.0, 30
# An attack without a sandbox: what it returns, prints and raises, as a result of the same form.
PLAIN = """
import io, json, sys, traceback
code, arguments = json.loads(sys.stdin.read())
answer, sys.stdout, out = {"ok": True, "value": None, "error": ""}, io.StringIO(), sys.stdout
try:
    names = {"__name__": "plain"}
    exec(code, names)
    answer["value"] = names["attack"](*arguments)
except BaseException:
    answer.update(ok=False, error=traceback.format_exc())
out.write(json.dumps(answer | {"stdout": sys.stdout.getvalue()}, default=str))
"""


class Host:
    """What an attack is after: a file, a secret in the environment, an open port. Tells whether it got any of it."""

    SECRET = "CANARY-4b1d7e"  # noqa: S105  nobody's

    async def __aenter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="metaclaw-host-")
        self.path = Path(self._folder.name, "canary.txt")
        self.path.write_text(self.SECRET, encoding="utf-8")
        self.path.chmod(0o666)
        os.environ["CANARY"] = self.SECRET
        self.visitors = 0
        self._server = await asyncio.start_server(self._visited, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        loop = asyncio.get_running_loop()
        self._datagrams, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self), local_addr=("127.0.0.1", self.port)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        await self._server.wait_closed()
        self._datagrams.close()
        del os.environ["CANARY"]
        self._folder.cleanup()

    def call(self, attack: Attack) -> Call:
        return Call(attack.code, "attack", {"path": str(self.path), "port": self.port, "pid": os.getpid()})

    def leak(self, result: Result) -> str:
        """What got out or came through, in a word; empty where nothing did."""
        said = f"{result.value!r} {result.stdout} {result.error}"
        if result.ok and result.value:
            return f"it got {str(result.value)[:80]!r}"
        if self.SECRET in said:
            return "it saw the secret"
        if any(path in said for path in _host_paths()):
            return "it saw a path of the host"
        if self.visitors:
            return "it reached the host's port"
        if not self.path.exists() or self.path.read_text(encoding="utf-8") != self.SECRET:
            return "it changed the host's file"
        return ""

    async def _visited(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visitors += 1
        writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, host: Host) -> None:
        self._host = host

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        self._host.visitors += 1


async def attacked(sandbox: Sandbox, attack: Attack, seconds_allowed: float) -> tuple[str, Result | None]:
    """What leaked (empty: nothing), and the result (None: refused)."""
    await sandbox.warm_up()
    async with Host() as host:
        started = time.perf_counter()
        try:
            result = await sandbox.run(host.call(attack))
        except SandboxError:
            return "", None
        seconds = time.perf_counter() - started
        late = seconds > seconds_allowed + ATTACK_MARGIN_SECONDS
        return host.leak(result) or (f"it took {seconds:.1f} s" if late else ""), result


async def attacked_plainly(attack: Attack) -> str:
    """The same without any sandbox: what leaked."""
    async with Host() as host:
        arguments = list(host.call(attack).arguments.values())
        with tempfile.TemporaryDirectory(prefix="metaclaw-plain-") as folder:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-c", PLAIN), cwd=folder,
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
            )
            said, _ = await process.communicate(json.dumps([attack.code, arguments]).encode())
        answer = json.loads(said.splitlines()[-1])
        return host.leak(Result(answer["ok"], answer["value"], answer["stdout"], answer["error"], 0.0, "none"))


async def attack_all(engine: EngineName) -> list[tuple[str, Result | None]]:
    """What each attack leaked on this engine, and its result, in the order of `ATTACKS`."""
    sandbox = Sandbox(SandboxSettings(engine=engine, seconds=ATTACK_SECONDS))
    try:
        return [await attacked(sandbox, attack, ATTACK_SECONDS) for attack in ATTACKS]
    finally:
        await sandbox.close()


async def time_calls(engine: EngineName, calls: int) -> list[float]:
    """Milliseconds of each of `calls` warm calls: for a jail, one that found a worker waiting."""
    sandbox = Sandbox(SandboxSettings(engine=engine))
    taken = []
    try:
        await sandbox.run(CALL)
        for _ in range(calls):
            await sandbox.warm_up()
            taken.append(await _timed(sandbox))
    finally:
        await sandbox.close()
    return taken


async def time_starts(engine: EngineName, starts: int) -> list[float]:
    """Milliseconds of each of `starts` first calls of a new sandbox, whatever it has to find out and start first."""
    taken = []
    for _ in range(starts):
        sandbox = Sandbox(SandboxSettings(engine=engine))
        taken.append(await _timed(sandbox))
        await sandbox.close()
    return taken


async def run(results: Path, calls: int = 300) -> Path:
    """Measure everything and write `sandbox.json`. SandboxError where one of the engines is missing."""
    missing = await _missing()
    if missing:
        raise SandboxError(f"The benchmark needs both engines. {missing}")
    engines: tuple[EngineName, ...] = ("monty", "strong")
    warm = {engine: await time_calls(engine, calls) for engine in engines}
    first = {engine: await time_starts(engine, 10) for engine in engines}
    ended = {engine: await attack_all(engine) for engine in engines}
    leaks: dict[str, list[str]] = {engine: [leak for leak, _ in ended[engine]] for engine in engines}
    plainly = [await attacked_plainly(attack) for attack in ATTACKS if attack.plain]
    held = {**leaks, "no_sandbox": plainly}
    arms = {name: share("share of attacks held", [not leak for leak in found]) for name, found in held.items()}
    leaked = sum(bool(leak) for engine in engines for leak in leaks[engine])
    checks = {
        "warm_call_monty_ms": _at_most(statistics.median(warm["monty"]), MONTY_BAR_MS),
        "warm_call_strong_ms": _at_most(statistics.median(warm["strong"]), STRONG_BAR_MS),
        "attacks": Check(len(ATTACKS), f"at least {ATTACKS_BAR}", len(ATTACKS) >= ATTACKS_BAR),
        "attacks_leaked": _at_most(leaked, 0),
    }
    extra = {
        "milliseconds": {
            engine: {"warm": _spread(warm[engine]), "first_call": _spread(first[engine])} for engine in engines
        },
        "user": "root" if os.geteuid() == 0 else "not root",
        "refused_as_unsupported": {engine: sum(result is None for _, result in ended[engine]) for engine in engines},
        "leaks": {
            engine: {attack.name: leak for attack, leak in zip(ATTACKS, leaks[engine], strict=True) if leak}
            for engine in engines
        },
    }
    return write(results, "sandbox", "python -m metaclaw.bench.sandbox", "none", [], arms, checks, extra)


async def _missing() -> str:
    sandbox = Sandbox(SandboxSettings())
    try:
        return " ".join(filter(None, (await sandbox.missing()).values()))
    finally:
        await sandbox.close()


async def _timed(sandbox: Sandbox) -> float:
    started = time.perf_counter()
    result = await sandbox.run(CALL)
    taken = 1000 * (time.perf_counter() - started)
    if result.value != EXPECTED:
        raise SandboxError(f"The benchmark's own call failed: {result.error or result.value}")
    return taken


def _at_most(value: float, bar: float) -> Check:
    return Check(round(value, 3), f"at most {bar:g}", value <= bar)


def _spread(taken: Sequence[float]) -> dict[str, float]:
    cut = statistics.quantiles(taken, n=20)
    return {"median": round(statistics.median(taken), 3), "p95": round(cut[-1], 3), "n": len(taken)}


def _host_paths() -> set[str]:
    """Where this installation lies: nothing that a program says may hold one of them."""
    return {sysconfig.get_path("stdlib"), str(Path(metaclaw.__file__).parent)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m metaclaw.bench.sandbox", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("bench/results"), help="folder of the result file")
    parser.add_argument("--calls", type=int, default=300, help="warm calls that are timed on each engine")
    options = parser.parse_args(arguments)
    try:
        print(asyncio.run(run(options.results, options.calls)))
    except SandboxError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
