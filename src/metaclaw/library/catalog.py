"""The library of a namespace: skills in versions and states, the generation they make, and their history.

Owns `skills`, `skill_history`, `support`, `generations`, `pins`, and the verdicts on skills. Whatever changes what may
be injected raises the generation by one, in the same transaction. The folder on disk follows after the commit.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaclaw.errors import SkillError
from metaclaw.library import skillfile
from metaclaw.store import Connection, Database, verdicts
from metaclaw.store.bell import Bell
from metaclaw.types import LIVE_STATES, Skill, SkillKind, SkillState, Verdict

SKILL_COLUMNS = "name, description, body, version, state, origin, kind, files"
STATES = {state.value: state for state in SkillState}  # the enum's own look-up takes as long as all else of a row
KINDS = {kind.value: kind for kind in SkillKind}
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


class Catalog:
    """Reads and writes one namespace's library. `folder` is where its SKILL.md folders are."""

    def __init__(self, database: Database, namespace: str, folder: Path) -> None:
        self._database = database
        self.namespace = namespace
        self.folder = folder
        self.bell = Bell(database.path)  # rung whenever the generation may have risen

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
        return int(rows[0][0]), [_as_skill(row[1:]) for row in rows if row[1] is not None]

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
        return Changes(rows[0][0], rows[0][1], names, tuple(_as_skill(row[3:]) for row in rows if row[3] is not None))

    def live(self) -> list[Skill]:
        return self.snapshot()[1]

    def get(self, name: str) -> Skill:
        """The newest version of a skill. Raises `SkillError` where there is none."""
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND name = ? ORDER BY version DESC LIMIT 1",
            (self.namespace, name),
        )
        if not rows:
            raise SkillError(f"There is no skill '{name}'. `metaclaw skills list` shows those there are.")
        return _as_skill(rows[0])

    def all(self) -> list[Skill]:
        """The newest version of every skill, retired ones included."""
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS}, max(version) FROM skills WHERE namespace = ? GROUP BY name ORDER BY name",
            (self.namespace,),
        )
        return [_as_skill(row[:-1]) for row in rows]

    def history(self, name: str) -> list[tuple[int, int, str | None, str, str, float]]:
        """(generation, version, old state, new state, reason, time) of every change, oldest first."""
        rows = self._database.read(
            "SELECT generation, version, old_state, new_state, reason, created_at FROM skill_history"
            " WHERE namespace = ? AND name = ? ORDER BY id",
            (self.namespace, name),
        )
        return [(r[0], r[1], r[2], r[3], r[4], r[5]) for r in rows]

    def verdicts(self, skill_ref: str) -> list[Verdict]:
        return verdicts.of_subject(self._database, self.namespace, f"skill:{skill_ref}")

    def publish(
        self,
        skill: Skill,
        state: SkillState,
        reason: str,
        support: Iterable[str],
        verdict: Verdict | None = None,
        merging: Sequence[Skill] = (),
    ) -> tuple[Skill, int]:
        """Make a new version live, in place of any older one, with the verdict that admits it.

        `support` names the turns that it came from. `merging` are live skills of other names that it takes in: they
        retire in the same step, and rolling the new version back brings them back.

        Returns the skill with its version and the new generation. Raises `SkillError` for an unwritable skill.
        """
        skillfile.check(skill)
        turns = list(support)

        def work(connection: Connection) -> tuple[Skill, int]:
            published = self._insert(connection, skill, state, reason, self._raise_generation(connection))
            for merged in merging:
                self._set_state(connection, merged, SkillState.RETIRED, _merged_into(published), raise_generation=False)
            self._support(connection, published, turns)
            if verdict is not None:
                verdicts.insert(connection, self.namespace, dataclasses.replace(verdict, subject=_subject(published)))
            return published, self._generation_of(connection)

        published, generation = self._database.write(work)
        for name in (published.name, *(merged.name for merged in merging)):
            self._follow(name)
        return published, generation

    def quarantine(self, skill: Skill, reason: str, support: Iterable[str]) -> Skill:
        """Keep a new version as a candidate: in no prompt, until a person approves it (`change_state` to active).

        What is live stays so, and the generation too. Returns the skill with its version. Raises `SkillError` for an
        unwritable skill, and for a name that has a live version: approved, it would stand beside it.
        """
        skillfile.check(skill)
        turns = list(support)

        def work(connection: Connection) -> Skill:
            live = connection.execute(
                f"SELECT 1 FROM skills WHERE namespace = ? AND name = ? AND {LIVE}", (self.namespace, skill.name)
            ).fetchone()
            if live:
                raise SkillError(f"Skill '{skill.name}' is live: a candidate needs a name of its own.")
            kept = self._insert(connection, skill, SkillState.CANDIDATE, reason, self._generation_of(connection))
            self._support(connection, kept, turns)
            return kept

        return self._database.write(work)

    def change_state(self, skill: Skill, state: SkillState, reason: str) -> int:
        """Move a version from the state it was read in to another. One that has moved on meanwhile stays as it is.

        Returns the generation, raised only if what may be injected changed.
        """

        def work(connection: Connection) -> int:
            row = connection.execute(
                "SELECT state FROM skills WHERE namespace = ? AND name = ? AND version = ?",
                (self.namespace, skill.name, skill.version),
            ).fetchone()
            if row is not None and row[0] == skill.state.value:
                raised = (skill.state in LIVE_STATES) != (state in LIVE_STATES)
                self._set_state(connection, skill, state, reason, raise_generation=raised)
            return self._generation_of(connection)

        generation = self._database.write(work)
        self._follow(skill.name)
        return generation

    def rollback(self, name: str, reason: str) -> tuple[Skill | None, int]:
        """Undo the newest live version of `name`: the version that it took the place of is live again, or none.

        A version that was retired itself, by evidence or by an earlier rollback, does not come back. Skills that it had
        taken in do, where nothing else is live by their names.
        Returns that version (None: nothing by that name is live now) and the new generation.
        """
        current = self.get(name)
        if current.state not in LIVE_STATES:
            raise SkillError(f"Skill '{name}' is {current.state.value}: there is nothing to roll back.")
        revived: list[str] = []

        def work(connection: Connection) -> tuple[Skill | None, int]:
            self._set_state(connection, current, SkillState.RETIRED, reason, raise_generation=True)
            rows = connection.execute(
                f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ?1 AND name = ?2 AND version < ?3"
                " AND body NOT IN (SELECT gone.body FROM skill_history AS past JOIN skills AS gone"
                " USING (namespace, name, version) WHERE namespace = ?1 AND name = ?2 AND new_state = 'retired')"
                " ORDER BY version DESC LIMIT 1",
                (self.namespace, name, current.version),
            ).fetchall()
            before = _as_skill(rows[0]) if rows else None
            for merged in self._merged_into(connection, current):
                self._insert(
                    connection, merged, self._last_live_state(connection, merged), reason,
                    self._generation_of(connection),
                )
                revived.append(merged.name)
            if before is None:
                return None, self._generation_of(connection)
            state = self._last_live_state(connection, before)
            restored = self._insert(connection, before, state, reason, self._generation_of(connection))
            return restored, self._generation_of(connection)

        restored, generation = self._database.write(work)
        for touched in (name, *revived):
            self._follow(touched)
        return restored, generation

    def support_of(self, skill: Skill) -> list[str]:
        """The ids of the turns that this version was written from."""
        rows = self._database.read(
            "SELECT turn_id FROM support WHERE namespace = ? AND name = ? AND version = ? ORDER BY turn_id",
            (self.namespace, skill.name, skill.version),
        )
        return [row[0] for row in rows]

    def support_turns(self) -> frozenset[str]:
        """The turns that any version of any skill was written from: they never train the policy."""
        rows = self._database.read("SELECT turn_id FROM support WHERE namespace = ?", (self.namespace,))
        return frozenset(row[0] for row in rows)

    def record(self, verdict: Verdict) -> None:
        self._database.write(lambda connection: verdicts.insert(connection, self.namespace, verdict))

    def wordings(self, skill_ref: str) -> list[int]:
        """The versions of a skill that inject the same text as this one; it is among them."""
        name, _, version = skill_ref.rpartition("@")
        rows = self._database.read(
            "SELECT same.version FROM skills AS one JOIN skills AS same USING (namespace, name, body)"
            " WHERE namespace = ? AND name = ? AND one.version = ? ORDER BY same.version",
            (self.namespace, name, int(version)),
        )
        return [row[0] for row in rows]

    def pinned(self) -> frozenset[str]:
        """The names of the skills that are never withheld, and that no evidence retires."""
        rows = self._database.read("SELECT name FROM pins WHERE namespace = ?", (self.namespace,))
        return frozenset(row[0] for row in rows)

    def pin(self, name: str, reason: str) -> int:
        """Take every version of a skill out of the hold-out and of curation. Returns the generation.

        Raises `SkillError` where there is no such skill.
        """
        statement = "INSERT OR IGNORE INTO pins VALUES (?, ?, ?)"
        return self._change_pin(self.get(name), statement, (self.namespace, name, time.time()), f"pinned: {reason}")

    def unpin(self, name: str, reason: str) -> int:
        """Undo `pin`. Raises `SkillError` where there is no such skill."""
        statement = "DELETE FROM pins WHERE namespace = ? AND name = ?"
        return self._change_pin(self.get(name), statement, (self.namespace, name), f"unpinned: {reason}")

    def _change_pin(self, skill: Skill, statement: str, values: tuple[Any, ...], reason: str) -> int:
        """The generation is raised, since what may be injected depends on it; the gateway reads pins with it."""

        def work(connection: Connection) -> int:
            connection.execute(statement, values)
            if connection.changes():
                self._note(connection, self._raise_generation(connection), skill, skill.state, skill.state, reason)
            return self._generation_of(connection)

        generation = self._database.write(work)
        self.bell.ring()
        return generation

    def _follow(self, name: str) -> None:
        """Tell who has the library in memory, and bring the folder on disk to what is live by this name."""
        self.bell.ring()
        rows = self._database.read(
            f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND name = ? AND {LIVE}", (self.namespace, name)
        )
        if rows:
            skillfile.write_folder(self.folder, _as_skill(rows[0]))
        else:
            skillfile.remove_folder(self.folder, name)

    def _support(self, connection: Connection, skill: Skill, turns: Sequence[str]) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO support VALUES (?, ?, ?, ?)",
            [(self.namespace, turn_id, skill.name, skill.version) for turn_id in turns],
        )

    def _merged_into(self, connection: Connection, skill: Skill) -> list[Skill]:
        """The skills that retired into this one, where nothing is live by their names now."""
        rows = connection.execute(
            f"SELECT {', '.join(f'gone.{column}' for column in SKILL_COLUMNS.split(', '))} FROM skill_history AS past"
            " JOIN skills AS gone USING (namespace, name, version)"
            f" WHERE namespace = ?1 AND past.reason = ?2 AND name NOT IN (SELECT name FROM skills"
            f" WHERE namespace = ?1 AND {LIVE}) ORDER BY past.id",
            (self.namespace, _merged_into(skill)),
        ).fetchall()
        return [_as_skill(row) for row in rows]

    def _last_live_state(self, connection: Connection, skill: Skill) -> SkillState:
        """What the version was when another took its place: a trial skill comes back on trial."""
        row = connection.execute(
            "SELECT new_state FROM skill_history WHERE namespace = ? AND name = ? AND version = ?"
            " AND new_state IN ('trial', 'active') ORDER BY id DESC LIMIT 1",
            (self.namespace, skill.name, skill.version),
        ).fetchone()
        return SkillState(row[0]) if row else SkillState.TRIAL

    def _insert(
        self, connection: Connection, skill: Skill, state: SkillState, reason: str, generation: int
    ) -> Skill:
        version: Any = connection.execute(
            "SELECT coalesce(max(version), 0) + 1 FROM skills WHERE namespace = ? AND name = ?",
            (self.namespace, skill.name),
        ).fetchall()[0][0]
        if state in LIVE_STATES:
            connection.execute(
                f"UPDATE skills SET state = 'retired' WHERE namespace = ? AND name = ? AND {LIVE}",
                (self.namespace, skill.name),
            )
        fresh = dataclasses.replace(skill, version=version, state=state)
        connection.execute(
            "INSERT INTO skills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.namespace, fresh.name, version, state.value, fresh.origin, fresh.description, fresh.body,
                generation, time.time(), fresh.kind.value, json.dumps(fresh.files) if fresh.files else "",
            ),
        )
        self._note(connection, generation, fresh, None, state, reason)
        return fresh

    def _set_state(
        self, connection: Connection, skill: Skill, state: SkillState, reason: str, *, raise_generation: bool
    ) -> None:
        connection.execute(
            "UPDATE skills SET state = ? WHERE namespace = ? AND name = ? AND version = ?",
            (state.value, self.namespace, skill.name, skill.version),
        )
        generation = self._raise_generation(connection) if raise_generation else self._generation_of(connection)
        self._note(connection, generation, skill, skill.state, state, reason)

    def _note(
        self, connection: Connection, generation: int, skill: Skill, old: SkillState | None, new: SkillState, why: str
    ) -> None:
        connection.execute(
            "INSERT INTO skill_history (namespace, generation, name, version, old_state, new_state, reason, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self.namespace, generation, skill.name, skill.version, old.value if old else None, new.value, why,
                time.time(),
            ),
        )

    def _raise_generation(self, connection: Connection) -> int:
        connection.execute(
            "INSERT INTO generations VALUES (?, 1) ON CONFLICT DO UPDATE SET generation = generation + 1",
            (self.namespace,),
        )
        return self._generation_of(connection)

    def _generation_of(self, connection: Connection) -> int:
        row = connection.execute("SELECT generation FROM generations WHERE namespace = ?", (self.namespace,)).fetchone()
        return int(row[0]) if row else 0


def _as_skill(row: tuple[Any, ...]) -> Skill:
    name, description, body, version, state, origin, kind, files = row
    read = tuple((path, text) for path, text in json.loads(files)) if files else ()
    return Skill(name, description, body, version, STATES[state], origin, KINDS[kind], read)


def _merged_into(skill: Skill) -> str:
    return f"merged into {skill.ref}"


def _subject(skill: Skill) -> str:
    return f"skill:{skill.ref}"
