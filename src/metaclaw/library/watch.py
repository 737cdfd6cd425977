"""Watches the library's folder, so that what people change there is live within a second. Runs in the learner.

The operating system tells of changes (inotify and its kin, through `watchfiles`); a folder is taken in when it has been
quiet for a moment, since editors and git write in several steps. Sweeps, at the start and now and then, find what was
changed while nobody watched, or where the system does not tell, as on network drives. Where it refuses to tell, since
too much is watched already, there are only sweeps, more of them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

from metaclaw.errors import MetaClawError
from metaclaw.library.catalog import Catalog
from metaclaw.library.edits import Edits, Taken
from metaclaw.types import Skill, SkillState, Verdict

log = logging.getLogger(__name__)

QUIET_MILLISECONDS = 100  # without a further change, before a folder is looked at
LONGEST_MILLISECONDS = 500  # that changes without end may put the look off
LOOK_MILLISECONDS = 300  # how often we see whether the folder is still the one that we watch
SWEEP_SECONDS = 10.0
SWEEP_SECONDS_UNTOLD = 0.4  # the same where the system tells nothing
SWEEP_SHARE = 0.02  # of our time at most goes into sweeps: one of 10,000 skills takes about a second
RETRY_SECONDS = 1.0

Prove = Callable[[Skill], Awaitable[Verdict | None]]
Changes = Callable[[Path], AsyncGenerator[set[str], None]]


async def told_by_system(root: Path) -> AsyncGenerator[set[str], None]:
    """The paths that changed below `root`, as they do; an empty set when none did for a moment."""
    from watchfiles import awatch  # here, since commands need not pay for its import

    changes = awatch(
        root, watch_filter=None, step=QUIET_MILLISECONDS, debounce=LONGEST_MILLISECONDS,
        rust_timeout=LOOK_MILLISECONDS, yield_on_timeout=True,
    )
    async with aclosing(changes):
        async for found in changes:
            yield {path for _, path in found}


class Watch:
    """`begin`, then `run` until cancelled. `hears` says whether changes are told of now.

    `prove`, if given, tests a code skill whose scripts were changed by hand.
    """

    def __init__(
        self, catalog: Catalog, edits: Edits, prove: Prove | None = None, changes: Changes = told_by_system
    ) -> None:
        self._catalog = catalog
        self._edits = edits
        self._prove = prove
        self._changes = changes
        self._next_sweep = float("-inf")
        self._deaf = False
        self.hears = False

    async def begin(self) -> None:
        """Take in what was changed while nobody watched, before anything else writes to the library."""
        try:
            await self._sweep()
        except (MetaClawError, OSError) as error:
            log.error("edits of the library could not be taken in yet: %s", error)

    async def run(self) -> None:
        while True:
            try:
                if self._deaf:
                    await self._sweep()
                    await asyncio.sleep(max(0.0, self._next_sweep - time.monotonic()))
                else:
                    await self._listen()
            except (OSError, RuntimeError) as error:  # both are what `watchfiles` raises
                if not self._deaf:
                    log.warning("the system does not tell of changes in the library (%s): looking for them", error)
                self._deaf, self.hears = True, False
                await asyncio.sleep(RETRY_SECONDS)
            except MetaClawError as error:
                log.error("edits of the library could not be taken in, trying again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _listen(self) -> None:
        """Until the folder is another one than it was: then it is to be watched anew."""
        self.hears = False
        await self._sweep()
        await asyncio.to_thread(self._catalog.folder.mkdir, parents=True, exist_ok=True)
        root = self._catalog.folder.resolve()
        watched = _identity(root)
        async with aclosing(self._changes(root)) as changes:
            async for paths in changes:
                if _identity(root) != watched:
                    return
                if not self.hears or time.monotonic() > self._next_sweep:
                    await self._sweep()  # the first time, for what changed before the system began to tell
                    self.hears = True
                else:
                    await self._take(_names(root, paths))

    async def _sweep(self) -> None:
        begun = time.monotonic()
        found = await asyncio.to_thread(self._edits.sweep)
        took = time.monotonic() - begun
        self._next_sweep = begun + max(SWEEP_SECONDS_UNTOLD if self._deaf else SWEEP_SECONDS, took / SWEEP_SHARE)
        await self._tell(found)

    async def _take(self, names: Iterable[str]) -> None:
        for name in sorted(names):
            taken = await asyncio.to_thread(self._edits.take, name)
            await self._tell([taken] if taken else [])

    async def _tell(self, found: Sequence[Taken]) -> None:
        for taken in found:
            log.info("skill %s: %s", taken.name, taken.what)
            if self._prove and taken.skill and taken.skill.state is SkillState.CANDIDATE:
                await self._settle(taken.skill, self._prove)

    async def _settle(self, skill: Skill, prove: Prove) -> None:
        verdict = await prove(skill)
        if verdict is None:
            return
        await asyncio.to_thread(self._catalog.record, verdict)
        if verdict.decision.startswith("admitted"):
            await asyncio.to_thread(self._catalog.change_state, skill, SkillState.ACTIVE, verdict.decision)


def _names(root: Path, paths: Iterable[str]) -> set[str]:
    """The skills that paths below the root belong to. Hidden names (.git, partial files) are not ours."""
    parts = [Path(path).relative_to(root).parts for path in paths if Path(path).is_relative_to(root)]
    return {below[0] for below in parts if below and not any(part.startswith(".") for part in below)}


def _identity(root: Path) -> Any:
    try:
        status = root.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
