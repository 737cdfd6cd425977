"""The library of a namespace, read: what is live, what waits, every version there was, and why.

Reads `skills`, `skill_history`, `support`, `generations`, `skill_imports`, `hearsay` and the verdicts on skills, all of
which `catalog.py` writes.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaclaw.errors import SkillError
from metaclaw.library.mirror import Mirror
from metaclaw.library.undo import Change
from metaclaw.store import Database, verdicts
from metaclaw.store.bell import Bell
from metaclaw.types import Skill, SkillKind, SkillState, Verdict

SKILL_COLUMNS = "name, description, body, version, state, origin, kind, files, cues"
STATES = {state.value: state for state in SkillState}  # the enum's own look-up takes as long as all else of a row
KINDS = {kind.value: kind for kind in SkillKind}
_NONE = "There is no skill '{}'. `metaclaw skills list` shows those there are."
PROOFS = ("admitted", "helps")  # how the decision of a verdict begins that speaks for a skill
LIVE = "state IN ('trial', 'active')"


@dataclass(frozen=True, slots=True)
class Changes:
    """`names` are those that something happened to; `live` is what is live by them at `generation`.

    `position` is where the next changes begin.
    """

    generation: int
    position: int
    names: frozenset[str]
    live: tuple[Skill, ...]


@dataclass(frozen=True, slots=True)
class Imported:
    """Where a version was imported from, and the hash of the bytes that a person agreed to."""

    name: str
    version: int
    source: str
    sha256: str
    created_at: float


class Reader:
    """Reads one namespace's library. `folder` is where its SKILL.md folders are."""

    def __init__(self, database: Database, namespace: str, folder: Path) -> None:
        self._database = database
        self.namespace = namespace
        self.folder = folder
        self.bell = Bell(database.path)  # rung whenever the generation may have risen
        self.mirror = Mirror(database, namespace, folder)

    def generation(self) -> int:
        rows = self._database.read("SELECT generation FROM generations WHERE namespace = ?", (self.namespace,))
        return int(rows[0][0]) if rows else 0

    def snapshot(self) -> tuple[int, list[Skill]]:
        """The generation and the live skills that belong to it, read as one."""
        rows = self._database.read(
            f"SELECT coalesce((SELECT generation FROM generations WHERE namespace = ?1), 0), {SKILL_COLUMNS}"
            f" FROM (SELECT 1) LEFT JOIN skills ON namespace = ?1 AND {LIVE} ORDER BY name",
            (self.namespace,),
        )
        return int(rows[0][0]), [as_skill(row[1:]) for row in rows if row[1] is not None]

    def changes(self, position: int) -> Changes:
        """What changed since `position`, read as one; with position 0, all that is live.

        Costs what changed, not what there is: the history is read from its position on.
        """
        live = f"LEFT JOIN skills ON skills.namespace = ?1 AND skills.{LIVE}"
        touched = f"{live} AND ?2 = 0"
        if position:
            since = "SELECT DISTINCT name FROM skill_history WHERE namespace = ?1 AND id > ?2"
            touched = f"LEFT JOIN ({since}) AS touched {live} AND skills.name = touched.name"
        rows = self._database.read(
            "SELECT coalesce((SELECT generation FROM generations WHERE namespace = ?1), 0),"
            f" coalesce((SELECT max(id) FROM skill_history), 0), {'touched' if position else 'skills'}.name,"
            f" {', '.join(f'skills.{column}' for column in SKILL_COLUMNS.split(', '))} FROM (SELECT 1) {touched}",
            (self.namespace, position),
        )
        names = frozenset(row[2] for row in rows if row[2] is not None)
        return Changes(rows[0][0], rows[0][1], names, tuple(as_skill(row[3:]) for row in rows if row[3] is not None))

    def live(self) -> list[Skill]:
        return self.snapshot()[1]

    def get(self, name: str) -> Skill:
        """The live version of a skill, or else its newest. Raises `SkillError` where there is none."""
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND name = ? ORDER BY {LIVE} DESC, version DESC"
            " LIMIT 1",
            (self.namespace, name),
        )
        if not rows:
            raise SkillError(_NONE.format(name))
        return as_skill(rows[0])

    def all(self) -> list[Skill]:
        """The live version of every skill, or else its newest, retired ones included."""
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS}, max(version + ({LIVE}) * 1000000000) FROM skills WHERE namespace = ?"
            " GROUP BY name ORDER BY name",
            (self.namespace,),
        )
        return [as_skill(row[:-1]) for row in rows]

    def waiting(self) -> list[Skill]:
        """The candidates: not live, each waits for a person or a proof. One a name at most."""
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND state = 'candidate' ORDER BY name, version",
            (self.namespace,),
        )
        return [as_skill(row) for row in rows]

    def candidate(self, name: str) -> Skill | None:
        """The version of `name` that waits, if one does."""
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND name = ? AND state = 'candidate'",
            (self.namespace, name),
        )
        return as_skill(rows[0]) if rows else None

    def history(self, name: str) -> list[tuple[int, int, str | None, str, str, float]]:
        """(generation, version, old state, new state, reason, time) of every change, oldest first."""
        rows = self._database.read(
            "SELECT generation, version, old_state, new_state, reason, created_at FROM skill_history"
            " WHERE namespace = ? AND name = ? ORDER BY id",
            (self.namespace, name),
        )
        return [(r[0], r[1], r[2], r[3], r[4], r[5]) for r in rows]

    def changes_of(self, name: str) -> list[Change]:
        """The same as values, with the kind of act that each was."""
        rows = self._database.read(
            "SELECT generation, version, old_state, new_state, reason, created_at, cause FROM skill_history"
            " WHERE namespace = ? AND name = ? ORDER BY id",
            (self.namespace, name),
        )
        return [Change(r[0], r[1], STATES.get(r[2]), STATES[r[3]], *r[4:]) for r in rows]

    def changes_since(self, since: float, limit: int) -> list[tuple[str, Change]]:
        """The last changes of any skill since then, each with its skill's name; the newest first."""
        rows = self._database.read(
            "SELECT name, generation, version, old_state, new_state, reason, created_at, cause FROM skill_history"
            " WHERE namespace = ? AND created_at >= ? ORDER BY id DESC LIMIT ?",
            (self.namespace, since, limit),
        )
        return [(r[0], Change(r[1], r[2], STATES.get(r[3]), STATES[r[4]], *r[5:])) for r in rows]

    def verdicts(self, skill_ref: str) -> list[Verdict]:
        return verdicts.of_subject(self._database, self.namespace, f"skill:{skill_ref}")

    def proof_of(self, skill: Skill) -> Verdict | None:
        """The latest verdict on a version, as another with the same text takes it over."""
        verdicts = self.verdicts(skill.ref)
        if not verdicts:
            return None
        return dataclasses.replace(verdicts[-1], evidence={**verdicts[-1].evidence, "taken_over_from": skill.ref})

    def is_proved(self, skill: Skill) -> bool:
        """Whether a comparison spoke for this version: replays, or the hold-out."""
        return any(verdict.decision.startswith(PROOFS) for verdict in self.verdicts(skill.ref))

    def made_from(self, turn_id: str) -> list[Skill]:
        """The live skills that were written from a turn."""
        columns = ", ".join(f"skills.{column}" for column in SKILL_COLUMNS.split(", "))
        rows = self._database.read(
            f"SELECT {columns} FROM support JOIN skills USING (namespace, name, version)"
            f" WHERE namespace = ? AND turn_id = ? AND {LIVE} ORDER BY name",
            (self.namespace, turn_id),
        )
        return [as_skill(row) for row in rows]

    def support_of(self, skill: Skill) -> list[str]:
        """The ids of the turns that this version was written from."""
        rows = self._database.read(
            "SELECT turn_id FROM support WHERE namespace = ? AND name = ? AND version = ? ORDER BY turn_id",
            (self.namespace, skill.name, skill.version),
        )
        return [row[0] for row in rows]

    def unvouched(self) -> frozenset[str]:
        """The refs of the versions whose words nobody vouches for: they came out of a conversation."""
        rows = self._database.read("SELECT name, version FROM hearsay WHERE namespace = ?", (self.namespace,))
        return frozenset(f"{name}@{version}" for name, version in rows)

    def pinned(self) -> frozenset[str]:
        """The names of the skills that are never withheld, and that no evidence retires."""
        rows = self._database.read("SELECT name FROM pins WHERE namespace = ?", (self.namespace,))
        return frozenset(row[0] for row in rows)

    def pinned_for_all(self) -> list[Skill]:
        """The live skills that a person wants in every request, by name."""
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ?1 AND {LIVE}"
            " AND name IN (SELECT name FROM pins WHERE namespace = ?1 AND always) ORDER BY name",
            (self.namespace,),
        )
        return [as_skill(row) for row in rows]

    def wordings(self, skill_ref: str) -> list[int]:
        """The versions of a skill that inject the same text as this one; it is among them."""
        name, _, version = skill_ref.rpartition("@")
        rows = self._database.read(
            "SELECT same.version FROM skills AS one JOIN skills AS same USING (namespace, name, body)"
            " WHERE namespace = ? AND name = ? AND one.version = ? ORDER BY same.version",
            (self.namespace, name, int(version)),
        )
        return [row[0] for row in rows]

    def versions(self, name: str) -> list[Skill]:
        """Every version there was, oldest first. Raises `SkillError` where there is none."""
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND name = ? ORDER BY version",
            (self.namespace, name),
        )
        if not rows:
            raise SkillError(_NONE.format(name))
        return [as_skill(row) for row in rows]

    def imports(self) -> list[Imported]:
        """What was imported, oldest first."""
        rows = self._database.read(
            "SELECT name, version, source, sha256, created_at FROM skill_imports WHERE namespace = ?"
            " ORDER BY created_at, name",
            (self.namespace,),
        )
        return [Imported(*row) for row in rows]


def as_skill(row: tuple[Any, ...]) -> Skill:
    name, description, body, version, state, origin, kind, files, cues = row
    return Skill(name, description, body, version, STATES[state], origin, KINDS[kind], _pairs(files), _pairs(cues))


def _pairs(stored: str) -> tuple[tuple[str, str], ...]:
    return tuple((one, other) for one, other in json.loads(stored)) if stored else ()
