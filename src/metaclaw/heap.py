"""The gateway's heap: what stays for good is kept out of the sight of Python's collector of reference cycles.

A library of ten thousand skills is some hundred thousand objects. Looking through all of them for cycles takes tens of
milliseconds, in which no request is served, and finds none.
"""

from __future__ import annotations

import gc

YOUNG_OBJECTS = 20_000  # so many more than before, until the young are looked through; Python's own 700 is one request
OLDER = (50, 50)


def collect_less_often() -> None:
    """For the process that serves requests. Most of what a request makes goes by reference counting alone."""
    gc.set_threshold(YOUNG_OBJECTS, *OLDER)


def leave_alone_what_there_is() -> None:
    """Called when something large has been built that stays."""
    gc.freeze()
