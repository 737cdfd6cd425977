"""The processes that a test has started: which there are, and whether they work. Read from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path


def children(of: int | None = None) -> set[int]:
    """The processes that we, or `of`, started, theirs included, that are more than a record to be collected."""
    parents = {pid: parent for pid, parent, _ in _living()}
    found, added = set[int](), {of or os.getpid()}
    while added:
        added = {pid for pid, parent in parents.items() if parent in added}
        found |= added
    return found


def in_sessions(leaders: set[int]) -> set[int]:
    """The processes in the sessions of these, whoever is their parent by now."""
    return {pid for pid, _, session in _living() if session in leaders}


def _living() -> Iterator[tuple[int, int, int]]:
    """Process, parent and session of all that have not ended."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent, _, session = path.read_text().rpartition(")")[2].split()[:4]
        except OSError:
            continue
        if state != "Z":
            yield int(path.parent.name), int(parent), int(session)


def at_work(pids: set[int]) -> bool:
    """Whether one of them has computed for longer than it takes to start."""
    return any(ticks(pid) >= 20 for pid in pids)


def ticks(pid: int) -> int:
    """Hundredths of a second that it has computed."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11])
    except OSError:
        return 0


def status(pid: int, name: str) -> str:
    """A line of the process's status; empty where it is gone, or has no such line."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(f"{name}:")), "")


def gone(pid: int) -> bool:
    """Whether it has ended, also where nobody has collected it."""
    return status(pid, "State")[:1] in ("", "Z")
