"""The hash of a large file, and a stamp beside it that spares hashing it again while nobody has changed it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from metaclaw.serving.fetch import Progress

CHUNK_BYTES = 4 << 20


def stamp_of(path: Path) -> Path:
    """Where the stamp of a file of ours lies."""
    return path.with_name(path.name + ".stamp")


def stamped_sha256(path: Path, stamp: Path, progress: Progress) -> str:
    """The SHA-256 of `path`, taken from its stamp while size and modification time are the same."""
    if recorded := read_stamp(path, stamp):
        return recorded
    found = sha256_of(path, progress)
    write_stamp(path, stamp, found)
    return found


def sha256_of(path: Path, progress: Progress) -> str:
    """In hexadecimal; it reads the whole file."""
    digest = hashlib.sha256()
    progress.start(f"Verifying {path.name}", path.stat().st_size)
    with path.open("rb") as source:
        for chunk in chunks(source):
            digest.update(chunk)
            progress.advance(len(chunk))
    progress.finish()
    return digest.hexdigest()


def read_stamp(path: Path, stamp: Path) -> str | None:
    """The SHA-256 that `path` had when it was stamped; None where it may have changed since."""
    try:
        recorded = json.loads(stamp.read_text())
        status = path.stat()
        same = (recorded["size"], recorded["mtime_ns"]) == (status.st_size, status.st_mtime_ns)
        return str(recorded["sha256"]) if same else None
    except (OSError, ValueError, KeyError, TypeError):  # no stamp, or not one of ours: hash again
        return None


def write_stamp(path: Path, stamp: Path, sha256: str) -> None:
    """Say that `path`, as it is, has this SHA-256."""
    status = path.stat()
    fresh = stamp.with_name(stamp.name + ".new")
    fresh.write_text(json.dumps({"size": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": sha256}))
    fresh.replace(stamp)


def chunks(source: IO[bytes]) -> Iterator[bytes]:
    """What is left of a file, `CHUNK_BYTES` at a time."""
    while chunk := source.read(CHUNK_BYTES):
        yield chunk
