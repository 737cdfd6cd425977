"""What people change in the library's folder, taken in: an edit is a new version, a deleted folder a retired skill.

A person's own file is active at once, if it is a valid skill and holds no secret; what the screen says against it is
told in its history, and does not stop it. Changed scripts wait as a candidate. A file that cannot be used is remembered
with its problem, and the last good version goes on serving. Our own writes are no edits (`mirror.py` knows them).
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from metaclaw.errors import SkillError
from metaclaw.leash import give_way
from metaclaw.library import folder as disk
from metaclaw.library import undo
from metaclaw.library.catalog import Catalog
from metaclaw.library.mirror import PERSON, Seen, says_the_same
from metaclaw.types import LIVE_STATES, Skill, SkillKind, SkillState

log = logging.getLogger(__name__)

SCRIPTS_WAIT = "its scripts were changed by hand: they wait for their tests, or for `metaclaw skills approve {}`"
CAME_BACK = "its folder came back as it was"


@dataclass(frozen=True, slots=True)
class Taken:
    """What was taken in of a folder: `skill` is the version that was made, if one was."""

    name: str
    what: str
    skill: Skill | None = None


class Edits:
    """Takes edits in. `objections` is the screen for injection; `holds_secret` says whether a text holds one."""

    def __init__(
        self, catalog: Catalog, objections: Callable[[Skill], Sequence[str]], holds_secret: Callable[[str], bool]
    ) -> None:
        self._catalog = catalog
        self._mirror = catalog.mirror
        self._objections = objections
        self._holds_secret = holds_secret

    def sweep(self) -> list[Taken]:
        """Take in every folder, and write those that a crash left behind what is live."""
        root, seen = self._mirror.folder, self._mirror.all_seen()
        if seen and not root.is_dir():  # moved away as a whole: that is no word about any skill
            log.warning("%s is gone: it is written anew", root)
            for name in seen:
                self._mirror.forget(name)
            seen = {}
        changed = [name for name in sorted({*disk.names(root), *seen}) if not self._unchanged(name, seen.get(name))]
        found = [self.take(name) for name in changed]
        written = self._mirror.all_seen()
        for skill in self._catalog.live():
            known = written.get(skill.name)
            if known is None or (known.version != skill.version and not known.problem):
                self._catalog.follow(skill.name)
        return [taken for taken in found if taken]

    def take(self, name: str) -> Taken | None:
        """Take in what a person did to one folder; None if that was nothing."""
        with self._mirror.locked():
            raw, seen = disk.read(self._mirror.folder, name), self._mirror.seen(name)
            if raw is None:
                return self._deleted(name, seen) if seen and self._mirror.folder.is_dir() else None
            if _known(raw, seen):
                return None
            try:
                skill = dataclasses.replace(raw.skill(), origin=PERSON)
                self.require_no_secret(skill)
            except SkillError as error:
                self._mirror.note(Seen(name, raw.sha256, problem=str(error)))
                return Taken(name, f"broken: {error}")
            return self._edited(skill, raw.sha256, seen)

    def admit(self, skill: Skill, what: str) -> Skill:
        """Make a person's own text a version: active, or a candidate where it would run scripts that nobody tested.

        `what` they did goes into its history, with what the screen says against it. Raises `SkillError` for a text that
        holds a secret, or is no valid skill.
        """
        self.require_no_secret(skill)
        own = dataclasses.replace(skill, origin=PERSON)
        if _untested(own, self._live(own.name)):
            return self._catalog.hold(own, SCRIPTS_WAIT.format(own.name))
        warnings = self.warnings(own)
        reason = f"{what} (warning: {'; '.join(warnings)})" if warnings else what
        return self._catalog.publish(own, SkillState.ACTIVE, reason, [])[0]

    def warnings(self, skill: Skill) -> list[str]:
        """What the screen says against a skill."""
        return list(self._objections(skill))

    def require_no_secret(self, skill: Skill) -> None:
        """Raise `SkillError` for a text that holds one."""
        texts = (skill.description, skill.body, *(text for _, text in skill.files))
        if any(map(self._holds_secret, texts)):
            raise SkillError("it holds something that looks like a secret, which the model would see: take it out")

    def _unchanged(self, name: str, seen: Seen | None) -> bool:
        """A look without the lock and the store, as nearly all folders of a sweep need no more."""
        give_way()
        return seen is not None and _known(disk.read(self._mirror.folder, name), seen)

    def _edited(self, skill: Skill, sha256: str, seen: Seen | None) -> Taken | None:
        live, waiting = self._live(skill.name), self._catalog.candidate(skill.name)
        for same in (live, waiting):
            if same and says_the_same(skill, same):
                self._mirror.note(Seen(skill.name, sha256, same.version))
                if same is live:
                    self._withdraw(waiting, seen, "its scripts were put back by hand")
                return None
        self._mirror.note(Seen(skill.name, sha256))  # version 0: a crash before the next step is made good by a sweep
        if self._came_back(skill):
            restored, _ = self._catalog.rollback(skill.name, CAME_BACK)
            return Taken(skill.name, CAME_BACK, restored)
        what = "edited by hand" if live else "added by hand"
        admitted = self.admit(skill, what)
        if admitted.state is SkillState.CANDIDATE:
            self._mirror.note(Seen(skill.name, sha256, admitted.version))
            return Taken(skill.name, "waits: its scripts were changed by hand", admitted)
        self._withdraw(waiting, seen, "edited again by hand")
        return Taken(skill.name, what, admitted)

    def _deleted(self, name: str, seen: Seen) -> Taken:
        told = "its folder was deleted"
        if self._live(name):
            self._catalog.retire(name, told, undo.DELETED)
        self._withdraw(self._catalog.candidate(name), seen, told)
        self._mirror.forget(name)
        return Taken(name, told)

    def _withdraw(self, waiting: Skill | None, seen: Seen | None, reason: str) -> None:
        """End a candidate that stood in the folder and stands there no more."""
        if waiting and seen and waiting.version == seen.version:
            self._catalog.change_state(waiting, SkillState.RETIRED, reason)

    def _live(self, name: str) -> Skill | None:
        try:
            skill = self._catalog.get(name)
        except SkillError:
            return None
        return skill if skill.state in LIVE_STATES else None

    def _came_back(self, skill: Skill) -> bool:
        """Whether this is what was retired because its folder was gone: `git checkout` of another branch and back."""
        changes = self._catalog.changes_of(skill.name)
        if not changes or changes[-1].cause != undo.DELETED:
            return False
        gone = next(one for one in self._catalog.versions(skill.name) if one.version == changes[-1].version)
        return says_the_same(gone, skill)


def _known(raw: disk.Raw | None, seen: Seen | None) -> bool:
    """Whether what stands in a folder has been taken in."""
    return bool(raw and seen and seen.sha256 == raw.sha256 and (seen.version or seen.problem))


def _untested(skill: Skill, live: Skill | None) -> bool:
    """Whether it would run scripts that nobody has tested."""
    return skill.kind is SkillKind.CODE and (live is None or (live.kind, live.files) != (skill.kind, skill.files))
