"""Files in and out: whole or not at all, their modes kept, symbolic links followed."""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path

from metaclaw.errors import ConnectError

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700


def bytes_of(path: Path) -> bytes | None:
    """The bytes of a file; None where there is none. Raises `ConnectError` where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConnectError(f"{path} cannot be read: {error.strerror}.") from error


def mode_of(path: Path) -> int:
    """The mode of a file; for one that does not exist, that of a file with a key in it."""
    return path.stat().st_mode & 0o7777 if path.exists() else PRIVATE_FILE


def put(path: Path, content: bytes, mode: int) -> None:
    """Write the whole file or nothing, with this mode; through a symbolic link, to where it leads.

    Raises `ConnectError` where it cannot be written.
    """
    target = path.resolve()
    try:
        target.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        try:
            with os.fdopen(descriptor, "wb") as temporary:
                temporary.write(content)
                temporary.flush()
                os.fchmod(descriptor, mode)
                os.fsync(descriptor)
            Path(name).replace(target)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise ConnectError(f"{target} cannot be written: {error.strerror}.") from error


def remove(path: Path, folders: tuple[str, ...]) -> None:
    """Delete a file, and those of `folders`, the deepest first, that nothing else is in."""
    path.unlink(missing_ok=True)
    for folder in folders:
        with contextlib.suppress(OSError):  # not empty, or gone: it is not ours alone any more
            Path(folder).rmdir()
