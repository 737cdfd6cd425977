"""One start of the gateway's view of a library, in a process of its own: seconds, and megabytes.

`python -m metaclaw.bench.retrieval.start FOLDER` prints them as JSON; FOLDER holds the store and its saved index.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from metaclaw.bench.retrieval.store import Figures, opened
from metaclaw.config.request_path import ContextSettings
from metaclaw.context.embed import StaticEmbedder
from metaclaw.context.live import LiveContext
from metaclaw.store import Database


def measured(folder: Path) -> Figures:
    """From a child process."""
    command = [sys.executable, "-m", "metaclaw.bench.retrieval.start", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: Figures = json.loads(done.stdout)
    return found


async def _start(folder: Path) -> Figures:
    with Database(folder / "metaclaw.db") as database:
        context = LiveContext(
            opened(database, folder), ContextSettings(), StaticEmbedder, cache_dir=folder / "indexes"
        )
        before = _resident_mb()
        started, cpu_started = time.perf_counter(), time.process_time()
        await context.warm()
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu_started
        if context.failures:
            raise AssertionError(f"the start was not a clean one: {context.failures}")
        return {
            "seconds": round(seconds, 3), "cpu_seconds": round(cpu_seconds, 3),
            "megabytes": round(_resident_mb() - before, 1),
        }


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asyncio.run(_start(Path(sys.argv[1])))))
