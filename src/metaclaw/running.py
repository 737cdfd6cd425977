"""Which gateways and dashboards run on a data folder: each holds a lock on a small file that says who and where it is.

The kernel lets go of a lock however its holder ends, so that a file which nobody holds is a dead gateway's, whatever
number stands in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

GATEWAYS, DASHBOARDS = "run", "run/dashboards"  # folders below the data folder


@dataclass(frozen=True, slots=True)
class Running:
    """`pid` is the process that listens at `url`; a gateway's is without /v1."""

    pid: int
    url: str
    namespace: str
    version: str
    started_at: float


class Presence:
    """Announced when somebody listens, and left when it is done. Raises `OSError` where the folder takes no file."""

    def __init__(self, home: Path, running: Running, kind: str = GATEWAYS) -> None:
        folder = home / kind
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path = folder / f"{running.pid}-{running.url.rpartition(':')[2]}.json"
        hidden = self._path.with_name(f".{self._path.name}")  # until it is locked and whole
        self._file = os.open(hidden, os.O_CREAT | os.O_RDWR | os.O_TRUNC, 0o600)
        fcntl.flock(self._file, fcntl.LOCK_EX)
        os.write(self._file, json.dumps(asdict(running)).encode())
        hidden.replace(self._path)

    def leave(self) -> None:
        with contextlib.suppress(OSError):
            self._path.unlink()
        os.close(self._file)


def gateways(home: Path, namespace: str | None = None) -> list[Running]:
    """Those that run on this data folder, in one namespace or in any, the oldest first. What dead ones left goes."""
    return _those_in(home / GATEWAYS, namespace)


def dashboards(home: Path, namespace: str | None = None) -> list[Running]:
    """The same of dashboards."""
    return _those_in(home / DASHBOARDS, namespace)


def _those_in(folder: Path, namespace: str | None) -> list[Running]:
    found = [running for path in sorted(folder.glob("*.json")) for running in _held(path)]
    return sorted(
        (one for one in found if namespace in (None, one.namespace)), key=lambda running: running.started_at
    )


def _held(path: Path) -> Iterator[Running]:
    """What the file says, if a living process holds it."""
    try:
        with path.open("rb") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                yield Running(**json.loads(file.read()))
            else:
                path.unlink(missing_ok=True)
    except (OSError, ValueError, TypeError):  # gone meanwhile; not ours to read; another version's
        return
