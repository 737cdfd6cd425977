"""What a child process of ours owes the others: it ends with its parent, and where it learns or trains, it gives way.

It cannot outlive its parent, however that ends and even while the child is stopped.
Children of ours watch their stdin as well, which works everywhere; but a process that was stopped (SIGSTOP) watches
nothing, and would keep its memory for ever.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
LOWEST_PRIORITY = 19
AUTOGROUP = Path("/proc/self/autogroup")


def die_with_parent() -> None:
    """On Linux the kernel kills this process when its parent is gone; elsewhere this does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def step_aside() -> None:
    """Take the lowest priority, for this thread and those that it starts: nobody who is served waits for what it does.

    Linux may share its processors out by session first, whatever the processes in them ask for (sched(7), autogroup);
    then a session counts by a value of its own, and a process in a session of its own needs both.
    """
    if hasattr(os, "nice"):
        os.nice(LOWEST_PRIORITY)
    with contextlib.suppress(OSError):
        AUTOGROUP.write_text(str(LOWEST_PRIORITY), encoding="ascii")
