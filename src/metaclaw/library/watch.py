"""Watches the library's folder, so that what people change there is live within a second. Runs in the learner.

The operating system tells of changes (inotify and its kin, through `watchfiles`); a folder is taken in when it has been
quiet for a moment, since editors and git write in several steps. A sweep at the start and now and then finds what was
changed while nobody watched, or where the system does not tell, as on network drives.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
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
LOOK_MILLISECONDS = 1_000  # how often we check that the folder itself is still the one that we watch
SWEEP_SECONDS = 60.0
RETRY_SECONDS = 1.0

Prove = Callable[[Skill], Awaitable[Verdict | None]]


class Watch:
    """`begin`, then `run` until cancelled. `hears` says whether changes are told of now.

    `prove`, if given, tests a code skill whose scripts were changed by hand.
    """

    def __init__(self, catalog: Catalog, edits: Edits, prove: Prove | None = None) -> None:
        self._catalog = catalog
        self._edits = edits
        self._prove = prove
        self._swept_at = float("-inf")
        self._polling: bool | None = None  # None: as the system offers
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
                await self._watch()
            except (OSError, RuntimeError) as error:  # the second is what `watchfiles` raises, too many watches say
                if not self._polling:
                    log.warning("the system does not tell of changes in the library (%s): looking for them", error)
                self._polling = True
                await asyncio.sleep(RETRY_SECONDS)
            except MetaClawError as error:
                log.error("edits of the library could not be taken in, trying again: %s", error)
                await asyncio.sleep(RETRY_SECONDS)

    async def _watch(self) -> None:
        """Until the folder is another one than it was: then it is to be watched anew."""
        from watchfiles import awatch  # here, since commands need not pay for its import

        self.hears = False
        await self._sweep()
        await asyncio.to_thread(self._catalog.folder.mkdir, parents=True, exist_ok=True)
        root = self._catalog.folder.resolve()
        watched, begun = _identity(root), False
        changes = awatch(
            root, watch_filter=None, step=QUIET_MILLISECONDS, debounce=LONGEST_MILLISECONDS,
            rust_timeout=LOOK_MILLISECONDS, yield_on_timeout=True, force_polling=self._polling,
        )
        async with aclosing(changes):
            async for found in changes:
                if _identity(root) != watched:
                    return
                if not begun or time.monotonic() - self._swept_at > SWEEP_SECONDS:
                    await self._sweep()  # the first time, for what changed before the system began to tell
                    self.hears = begun = True
                else:
                    await self._take(_names(root, (path for _, path in found)))

    async def _sweep(self) -> None:
        self._swept_at = time.monotonic()
        await self._tell(await asyncio.to_thread(self._edits.sweep))

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
