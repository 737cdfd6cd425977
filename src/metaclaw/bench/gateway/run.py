"""`metaclaw bench gateway`: every contender under the same load, in turn, several rounds; medians and ratios.

Contenders run one at a time, so that each has its processor to itself, and the rounds alternate between them, so that a
machine that drifts is unkind to all alike.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from metaclaw.bench.gateway import contenders, report
from metaclaw.bench.gateway.contenders import Contender
from metaclaw.bench.gateway.library import QUESTIONS
from metaclaw.bench.gateway.load import Shape, run
from metaclaw.bench.gateway.report import SKILLS, SMALL, Measured

console = Console(width=120)

LARGE = [Shape(False, size, connections) for size in (60_000, 1_000_000) for connections in (1, 16)]
SOAK = Shape(True, 2_000, 16)
SHAPES_APART = 100


def main(rounds: int, seconds: int, soak_minutes: float, folder: Path) -> None:
    """Measure, print a table, and write `folder/gateway.json`; without rounds, `folder/gateway-soak.json`."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Stopped."))  # else those who are compared would stay
    measured = Measured()
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(contenders.mock_upstream(scratch))
        starting = _start(stack, upstream, scratch, measured) if rounds else _alone(stack, upstream, scratch)
        present = list(starting)
        for number in range(rounds):
            for contender in present:
                _round(contender, number, seconds, measured)
        _soak(next(one for one in present if one.name == "metaclaw"), soak_minutes, measured)
    report.publish(measured, rounds, seconds, soak_minutes, folder, console)


def _alone(stack: contextlib.ExitStack, upstream: str, scratch: Path) -> Iterator[Contender]:
    yield stack.enter_context(contenders.metaclaw(upstream, scratch, SKILLS))


def _start(stack: contextlib.ExitStack, upstream: str, scratch: Path, measured: Measured) -> Iterator[Contender]:
    yield Contender("direct", upstream)
    yield stack.enter_context(contenders.bare(upstream, scratch))
    console.print(f"filling a library with {SKILLS} skills", highlight=False)
    yield stack.enter_context(contenders.metaclaw(upstream, scratch, SKILLS))
    for name, start in (("LiteLLM", contenders.litellm), ("Portkey", contenders.portkey)):
        try:
            yield stack.enter_context(start(upstream, scratch))
        except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
            measured.left_out[name] = str(error)
            console.print(f"{name} is left out: {error}", markup=False)


def _round(contender: Contender, number: int, seconds: int, measured: Measured) -> None:
    heavy = contender.name in ("direct", "bare aiohttp", "metaclaw")
    for place, shape in enumerate([*SMALL, *(LARGE if heavy else [])]):
        # no two of them ask the same questions, whose answers the gateway would know
        done = run(contender.url, contender.headers, shape, seconds, QUESTIONS, seed=SHAPES_APART * number + place)
        measured.runs.setdefault((contender.name, shape), []).append(done)
        console.print(
            f"{contender.name:14}{shape.name:36}{done.per_second:10.0f}/s  p50 {done.p50_ms:8.2f} ms"
            f"  p99 {done.p99_ms:8.2f} ms  failed {done.failed}", highlight=False,
        )


def _soak(ours: Contender, minutes: float, measured: Measured) -> None:
    """Load without pause, and what the gateway's process holds of memory meanwhile."""
    deadline = time.monotonic() + 60 * minutes
    while time.monotonic() < deadline:
        done = run(ours.url, ours.headers, SOAK, 15, QUESTIONS, seed=int(deadline - time.monotonic()))
        measured.memory_mb.append(_resident_mb(ours.pid or 0))
        console.print(f"soak: {done.per_second:.0f}/s, {measured.memory_mb[-1]:.0f} MB", highlight=False)


def _resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 1e6
