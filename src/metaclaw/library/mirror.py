"""The folder on disk follows the library, without taking a person's edit for its own or writing over it.

Owns `skill_folders`: what stood in each folder when we last wrote it or took it in. What stands there now and is
something else, is an edit that `edits.py` has still to take in; until then nothing is written there. A lock file beside
the library's folder orders the processes that write (learner, commands).
"""

from __future__ import annotations

import fcntl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from metaclaw.errors import SkillError
from metaclaw.library import folder as disk
from metaclaw.store import Database
from metaclaw.types import Skill

PERSON = "person"  # the origin of what a person wrote


@dataclass(frozen=True, slots=True)
class Seen:
    """What stood in the folder `name`, the version that it says (0 for none), and what is wrong with it."""

    name: str
    sha256: str
    version: int = 0
    problem: str = ""


class Mirror:
    """One namespace's folder, and the memory of what we know of it."""

    def __init__(self, database: Database, namespace: str, folder: Path) -> None:
        self._database = database
        self._namespace = namespace
        self.folder = folder
        self._within = threading.RLock()
        self._depth = 0

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nobody else, in this process or another, writes or takes in meanwhile. May be entered again within."""
        with self._within:
            if self._depth:
                self._depth += 1
                try:
                    yield
                finally:
                    self._depth -= 1
                return
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with self.folder.with_name(f".{self.folder.name}.lock").open("w") as file:
                fcntl.flock(file, fcntl.LOCK_EX)  # given back when the file closes, also by a process that dies
                self._depth = 1
                try:
                    yield
                finally:
                    self._depth = 0

    def seen(self, name: str) -> Seen | None:
        rows = self._database.read(
            "SELECT name, sha256, version, problem FROM skill_folders WHERE namespace = ? AND name = ?",
            (self._namespace, name),
        )
        return Seen(*rows[0]) if rows else None

    def all_seen(self) -> dict[str, Seen]:
        rows = self._database.read(
            "SELECT name, sha256, version, problem FROM skill_folders WHERE namespace = ? ORDER BY name",
            (self._namespace,),
        )
        return {row[0]: Seen(*row) for row in rows}

    def problems(self) -> dict[str, str]:
        """By the name of its folder, what is wrong with each file that cannot be used."""
        rows = self._database.read(
            "SELECT name, problem FROM skill_folders WHERE namespace = ? AND problem <> '' ORDER BY name",
            (self._namespace,),
        )
        return {row[0]: row[1] for row in rows}

    def note(self, seen: Seen) -> None:
        """Remember what stands in a folder."""
        if seen == self.seen(seen.name):
            return
        row = (self._namespace, seen.name, seen.sha256, seen.version, seen.problem, time.time())
        self._database.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO skill_folders VALUES (?, ?, ?, ?, ?, ?)", row)
        )

    def forget(self, name: str) -> None:
        self._database.write(
            lambda connection: connection.execute(
                "DELETE FROM skill_folders WHERE namespace = ? AND name = ?", (self._namespace, name)
            )
        )

    def follow(self, name: str, live: Skill | None, waiting: Skill | None) -> None:
        """Bring the folder to what is live by this name, unless it holds a person's edit: taken in later, waiting, or
        broken. `live` and `waiting` are the versions in these states.
        """
        with self.locked():
            raw, seen = disk.read(self.folder, name), self.seen(name)
            if self._unseen(raw, seen) or (seen and seen.problem):
                return
            said = _said(raw)
            if waiting and seen and seen.version == waiting.version:
                return
            if live is None:
                disk.remove(self.folder, name)
                if seen:
                    self.forget(name)
            elif raw and said and says_the_same(said, live) and (live.origin == PERSON or said.state is live.state):
                self.note(Seen(name, raw.sha256, live.version))  # not even its layout is changed: it may be in git
            else:
                self.note(Seen(name, disk.write(self.folder, live), live.version))

    def discard(self, name: str) -> None:
        """Give a broken edit up: the next `follow` writes over it."""
        raw = disk.read(self.folder, name)
        if raw:
            self.note(Seen(name, raw.sha256))

    def _unseen(self, raw: disk.Raw | None, seen: Seen | None) -> bool:
        """Whether a person changed the folder since we looked last. Without a root, there is no library to edit."""
        if raw is None:
            return seen is not None and self.folder.is_dir()
        return seen is None or raw.sha256 != seen.sha256


def says_the_same(one: Skill, other: Skill) -> bool:
    """Whether two skills differ in nothing but their version, state and origin."""
    mine, theirs = ((s.name, s.description.strip(), s.body.strip(), s.kind, s.files) for s in (one, other))
    return mine == theirs


def _said(raw: disk.Raw | None) -> Skill | None:
    with suppress(SkillError):
        return raw.skill() if raw else None
    return None
