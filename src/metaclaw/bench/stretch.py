"""What a gateway learned in a stretch of a run that was cut short is taken back before the stretch is played again.

A stretch is what a run plays from its beginning where it did not come to its end, such as a day that is one
conversation. Else an arm that learns would meet its questions a second time, after their feedback.
"""

from __future__ import annotations

import shutil
from glob import escape
from pathlib import Path


def begin(folder: Path, stretch: str, *, fresh: bool) -> None:
    """Keep a copy of a gateway's folder beside it; where the same stretch was begun before, put that copy in its place.

    The gateway has stopped. Only the newest stretch's copy is kept. `fresh`: whatever is kept is of an earlier run.
    """
    kept = folder.with_name(f"{folder.name}-before-{stretch}")
    if kept.exists() and not fresh:
        shutil.rmtree(folder)
        shutil.copytree(kept, folder, symlinks=True)
        return
    for older in folder.parent.glob(f"{escape(folder.name)}-before-*"):
        shutil.rmtree(older)
    unfinished = kept.with_name(f"{kept.name}.unfinished")
    shutil.copytree(folder, unfinished, symlinks=True)
    unfinished.rename(kept)
