"""A child process that cannot outlive its parent, however the parent ends and even while the child is stopped.

Children of ours watch their stdin as well, which works everywhere; but a process that was stopped (SIGSTOP) watches
nothing, and would keep its memory for ever.
"""

from __future__ import annotations

import ctypes
import signal
import sys

PR_SET_PDEATHSIG = 1  # Linux, prctl(2)


def die_with_parent() -> None:
    """On Linux the kernel kills this process when its parent is gone; elsewhere this does nothing."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
