"""Two folders change places in one step: whoever is killed leaves the one or the other, never half of each.

The kernels have a call for that and Python has not: `renameat2` with RENAME_EXCHANGE on Linux, `renamex_np` with
RENAME_SWAP on macOS.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

from metaclaw.errors import BackupError

AT_FDCWD, RENAME_EXCHANGE, RENAME_SWAP = -100, 2, 2


def exchange(one: Path, other: Path) -> None:
    """Raises `BackupError` where the file system cannot; then nothing has changed."""
    libc = ctypes.CDLL(None, use_errno=True)
    first, second = os.fsencode(one), os.fsencode(other)
    try:
        if sys.platform == "darwin":
            failed = libc.renamex_np(first, second, ctypes.c_uint(RENAME_SWAP))
        else:
            failed = libc.renameat2(AT_FDCWD, first, AT_FDCWD, second, ctypes.c_uint(RENAME_EXCHANGE))
    except AttributeError as error:  # a C library from before 2018
        raise _cannot(other, "this system has no such call") from error
    if failed:
        number = ctypes.get_errno()
        why = "it is a mount point" if number in (errno.EBUSY, errno.EXDEV) else os.strerror(number)
        raise _cannot(other, why)


def _cannot(folder: Path, why: str) -> BackupError:
    return BackupError(
        f"{folder} cannot be exchanged for another folder in one step ({why}), so it was left as it is. Restore into"
        " a folder that is not there yet (--data-dir), and use that one."
    )
