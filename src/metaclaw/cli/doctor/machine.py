"""The doctor looks at the machine: versions and packages, memory, disk, how fast the disk is, and the clock."""

from __future__ import annotations

import os
import platform
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import apsw

from metaclaw import __version__
from metaclaw.cli.doctor.finding import Finding, broken, note, ok
from metaclaw.config.settings import Settings
from metaclaw.store.connection import OLDEST_SAFE_SQLITE

OLDEST_PYTHON = (3, 11)
LITTLE_SPACE_BYTES, NO_SPACE_BYTES = 1_000_000_000, 100_000_000
EMBEDDED_MEMORY_BYTES = 2_500_000_000  # the 1.5B model, resident, and room for its context
SYNCS = 15
SLOW_SYNC_SECONDS = 0.02  # half of what a person notices, and every reply waits for one
MOST_SKEW_SECONDS = 60.0


def versions(settings: Settings) -> Iterator[Finding]:
    python = platform.python_version()
    told = f"MetaClaw {__version__}, Python {python}, SQLite {apsw.sqlite_lib_version()}, {platform.system()}"
    if sys.version_info < OLDEST_PYTHON:
        yield broken("versions", told, "MetaClaw needs Python 3.11 or newer.")
    elif tuple(map(int, apsw.sqlite_lib_version().split("."))) < OLDEST_SAFE_SQLITE:
        yield broken("versions", f"{told}: this SQLite can corrupt a shared store", "pip install --upgrade apsw")
    else:
        yield ok("versions", told)
    if not settings.embedded:
        return
    if find_spec("xllamacpp") is None:
        yield broken(
            "engine", "the embedded model's engine is not installed",
            "pip install 'metaclaw[local]', or name a provider in upstream.url",
        )
    if settings.training.enabled and find_spec("torch") is None:
        yield note(
            "training", "PyTorch is not installed: skills are learned, weights are not",
            "pip install 'metaclaw[train]', or set training.enabled = false",
        )


def memory(settings: Settings, available_bytes: int | None) -> Iterator[Finding]:
    """`available_bytes` is None where the system does not tell."""
    if available_bytes is None or not settings.embedded:
        return
    told = f"{available_bytes / 1e9:.1f} GB of memory are free"
    if available_bytes < EMBEDDED_MEMORY_BYTES:
        yield note("memory", f"{told}; the default embedded model takes 2.1", "Close something, or take a smaller"
                   " model (model.name = 'qwen2.5-0.5b') or a provider.")
    else:
        yield ok("memory", told)


def disk(folder: Path, free_bytes: int) -> Finding:
    told = f"{free_bytes / 1e9:.1f} GB free at {folder}"
    mend = "Free some, or move the data folder: data_dir, and models_dir for the weights alone."
    if free_bytes < NO_SPACE_BYTES:
        return broken("disk", f"{told}: soon no turn can be kept", mend)
    if free_bytes < LITTLE_SPACE_BYTES:
        return note("disk", f"{told}, which is little", mend)
    return ok("disk", told)


def disk_speed(seconds: float, timeout_seconds: float) -> Finding:
    told = f"a write is safe on the disk after {seconds * 1000:.1f} ms (median of {SYNCS})"
    mend = "Move the data folder to a local disk (data_dir): the end of each reply waits for its turn to be kept."
    if seconds >= timeout_seconds:
        return broken("disk speed", f"{told}: turns will count as lost", mend)
    return note("disk speed", told, mend) if seconds > SLOW_SYNC_SECONDS else ok("disk speed", told)


def clock(now: float, newest_turn_at: float | None, told_by_others: float | None) -> Finding:
    """`told_by_others` is the time that a provider's reply bore, if one did."""
    shown = time.strftime("%Y-%m-%d %H:%M %Z", time.localtime(now))
    mend = "Set the clock (timedatectl set-ntp true, or your system's settings): sleep hours and sessions go by it."
    if told_by_others is not None and abs(now - told_by_others) > MOST_SKEW_SECONDS:
        return note("clock", f"{shown}, {now - told_by_others:+.0f} s from the provider's", mend)
    if newest_turn_at is not None and newest_turn_at > now + MOST_SKEW_SECONDS:
        return note("clock", f"{shown}, {newest_turn_at - now:.0f} s before the last turn: it ran backwards", mend)
    return ok("clock", shown)


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


def available_memory() -> int | None:
    """What a new process can have, as Linux tells it."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    sizes = {name: rest for name, _, rest in (line.partition(":") for line in lines)}
    return int(sizes["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in sizes else None


def sync_seconds(folder: Path) -> float:
    """The median time until a page of a file there is on the disk. Raises `OSError` where none can be written."""
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(SYNCS):
            started = time.perf_counter()
            file.write(os.urandom(4096))
            file.flush()
            os.fsync(file.fileno())
            took.append(time.perf_counter() - started)
    return statistics.median(took)
