"""The library of a namespace: skills in versions and states, the generation they make, and their history.

Owns `skills`, `skill_history`, `support`, `generations`, `skill_imports`, `pins`, `hearsay`, and the verdicts on
skills. Whatever changes what may be injected raises the generation by one, in the same transaction. The folder on disk
follows after the commit.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from collections.abc import Iterable, Sequence
from typing import Any

from metaclaw.errors import MetaClawError, SkillError
from metaclaw.library import hearsay, skillfile, undo
from metaclaw.library.mirror import says_the_same
from metaclaw.library.reader import LIVE, SKILL_COLUMNS, Changes, Imported, Reader, as_skill
from metaclaw.library.transaction import MOST_CUES, Transaction, as_stored
from metaclaw.store import Connection, stale, verdicts
from metaclaw.types import LIVE_STATES, Skill, SkillState, Verdict

__all__ = ["Catalog", "Changes", "Imported"]

log = logging.getLogger(__name__)



class Catalog(Reader):
    """Reads and writes one namespace's library. `folder` is where its SKILL.md folders are."""

    def publish(
        self,
        skill: Skill,
        state: SkillState,
        reason: str,
        support: Iterable[str],
        verdict: Verdict | None = None,
        merging: Sequence[Skill] = (),
        *,
        unvouched: bool = False,
    ) -> tuple[Skill, int]:
        """Make a new version live, in place of any older one, with the verdict that admits it.

        `support` names the turns that it came from. `merging` are live skills of other names that it speaks for: they
        retire in the same step, and rolling the new version back brings them back. `unvouched`: its words came out of a
        conversation, so that it cannot be active before somebody vouches for them.

        Returns the skill with its version and the new generation. Raises `SkillError` for an unwritable skill.
        """
        skillfile.check(skill)
        turns = list(support)
        cause = undo.MERGE if merging else ""

        def work(connection: Connection) -> tuple[Skill, int]:
            change = Transaction(connection, self.namespace)
            generation = change.raise_generation()
            published = change.insert(skill, state, reason, generation, cause, unvouched=unvouched)
            change.support(published, turns)
            for gone in merging:
                told = f"merged into {published.ref}"
                change.set_state(gone, SkillState.RETIRED, told, raise_generation=False, cause=cause)
            if verdict is not None:
                verdicts.insert(connection, self.namespace, dataclasses.replace(verdict, subject=_subject(published)))
            return published, generation

        published, generation = self._database.write(work)
        self.follow(published.name, *(gone.name for gone in merging))
        return published, generation

    def hold(self, skill: Skill, reason: str, support: Iterable[str] = (), *, unvouched: bool = False) -> Skill:
        """Keep a new version as a candidate: not live, until a person approves it or a proof admits it.

        What is live by its name stays. An older candidate of that name gives way; one that says the same is kept.
        `reason` says why it waits; `support` names the turns that it came from; `unvouched` is as for `publish`.
        `approve` admits it, `change_state` to `retired` rejects it. Raises `SkillError` for an unwritable skill.
        """
        skillfile.check(skill)
        turns = list(support)

        def work(connection: Connection) -> Skill:
            change = Transaction(connection, self.namespace)
            older = connection.execute(
                f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND name = ? AND state = 'candidate'",
                (self.namespace, skill.name),
            ).fetchall()
            held = next((same for same in map(as_skill, older) if says_the_same(same, skill)), None)
            if held is None:
                generation = change.generation()
                for row in older:
                    gone = "a newer candidate took its place"
                    change.set_state(as_skill(row), SkillState.RETIRED, gone, raise_generation=False)
                held = change.insert(skill, SkillState.CANDIDATE, reason, generation, unvouched=unvouched)
            change.support(held, turns)
            return held

        return self._database.write(work)

    def change_state(self, skill: Skill, state: SkillState, reason: str) -> int:
        """Move a version from the state it was read in to another. One that has moved on meanwhile stays as it is.

        One that goes live takes the place of what is live by its name.
        Returns the generation, raised only if what may be injected changed. Raises `SkillError` where it would become
        active and nobody vouches for its words.
        """
        return self._move(skill, state, reason)

    def approve(self, skill: Skill, reason: str) -> int:
        """A person vouches for a version that waits or is on trial: it is active. Returns the generation."""
        return self._move(skill, SkillState.ACTIVE, reason, vouched=True)

    def vouch(self, skill: Skill, reason: str) -> None:
        """Others said the same: evidence may make it active from now on. Its state stays."""

        def work(connection: Connection) -> None:
            change = Transaction(connection, self.namespace)
            if hearsay.holds(connection, self.namespace, skill):
                hearsay.lift(connection, self.namespace, skill)
                change.note(change.generation(), skill, skill.state, skill.state, reason, "")

        self._database.write(work)

    def support(self, skill: Skill, turns: Iterable[str]) -> None:
        """The same rule was said of these turns too."""
        named = list(turns)
        self._database.write(lambda connection: Transaction(connection, self.namespace).support(skill, named))

    def retire(self, name: str, reason: str, cause: str = undo.RETIRE) -> int:
        """Take what is live by this name out of use; `rollback` brings it back. Returns the new generation.

        Raises `SkillError` where nothing by this name is live.
        """
        current = self.get(name)
        if current.state not in LIVE_STATES:
            raise SkillError(f"Skill '{name}' is {current.state.value}: it is not in use.")
        return self._move(current, SkillState.RETIRED, reason, cause)

    def rollback(self, name: str, reason: str) -> tuple[Skill | None, int]:
        """Undo the last change of what is live by `name`.

        A version gives way to the one that it took the place of, or to none; where it merged others in, they come back
        too. What was retired, by a person, by evidence, or with its folder, is live again. Done again, it goes further
        back.
        Returns what is live by that name now, and the new generation. Raises `SkillError` where there is nothing to
        undo.
        """
        step = undo.last_step(self.versions(name), self.changes_of(name))
        if step is None:
            raise SkillError(f"Skill '{name}' is {self.get(name).state.value}: there is nothing to roll back.")
        others = self._merged_in(name, step.generation) if step.merged else []
        if any(not skill.body for skill in (step.returns, *others) if skill):
            raise SkillError(f"Skill '{name}' cannot go back: the text of the version before was erased.")

        def work(connection: Connection) -> tuple[Skill | None, int]:
            change = Transaction(connection, self.namespace)
            generation = change.raise_generation()
            if step.leaves:
                retired = SkillState.RETIRED
                change.set_state(step.leaves, retired, reason, raise_generation=False, cause=undo.ROLLBACK)
            restored = [
                change.insert(
                    skill, skill.state, reason, generation, undo.ROLLBACK,
                    unvouched=hearsay.holds(connection, self.namespace, skill),
                )
                for skill in (*([step.returns] if step.returns else []), *others)
            ]
            return next((skill for skill in restored if skill.name == name), None), generation

        restored, generation = self._database.write(work)
        self.follow(name, *(skill.name for skill in others))
        return restored, generation

    def widen(self, skill: Skill, turn_id: str, cue: str, reason: str) -> int:
        """Let a live version be found by one more request, in which its rule was asked for. Returns the generation.

        The turn counts among those that it came from. A version that is not live any more stays as it is.
        """

        def work(connection: Connection) -> int:
            change = Transaction(connection, self.namespace)
            row = connection.execute(
                f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND name = ? AND version = ? AND {LIVE}",
                (self.namespace, skill.name, skill.version),
            ).fetchone()
            known = as_skill(row) if row else None
            if known is not None and cue not in {text for _, text in known.cues}:
                cues = [*known.cues, (turn_id, cue)][-MOST_CUES:]
                connection.execute(
                    "UPDATE skills SET cues = ? WHERE namespace = ? AND name = ? AND version = ?",
                    (as_stored(cues), self.namespace, skill.name, skill.version),
                )
                change.support(known, [turn_id])
                change.note(change.raise_generation(), known, known.state, known.state, reason, "")
            return change.generation()

        generation = self._database.write(work)
        self.bell.ring()
        return generation

    def record(self, verdict: Verdict) -> None:
        self._database.write(lambda connection: verdicts.insert(connection, self.namespace, verdict))

    def pin(self, name: str, reason: str, *, always: bool = False) -> int:
        """Take every version of a skill out of the hold-out and of curation; `always` also puts it into every request.
        Pinned again, it is as said last. Returns the generation.

        Raises `SkillError` where there is no such skill.
        """
        statement = (
            "INSERT INTO pins (namespace, name, created_at, always) VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE"
            " SET always = excluded.always WHERE always <> excluded.always"
        )
        said = f"pinned{', for every request' if always else ''}: {reason}"
        return self._change_pin(self.get(name), statement, (self.namespace, name, time.time(), always), said)

    def unpin(self, name: str, reason: str) -> int:
        """Undo `pin`. Raises `SkillError` where there is no such skill."""
        statement = "DELETE FROM pins WHERE namespace = ? AND name = ?"
        return self._change_pin(self.get(name), statement, (self.namespace, name), f"unpinned: {reason}")

    def _change_pin(self, skill: Skill, statement: str, values: tuple[Any, ...], reason: str) -> int:
        """The generation is raised, since what may be injected depends on it; the gateway reads pins with it."""

        def work(connection: Connection) -> int:
            change = Transaction(connection, self.namespace)
            connection.execute(statement, values)
            if connection.changes():
                change.note(change.raise_generation(), skill, skill.state, skill.state, reason, "")
            return change.generation()

        generation = self._database.write(work)
        self.bell.ring()
        return generation

    def note_import(self, skill: Skill, source: str, sha256: str) -> None:
        """Remember where an imported version came from, and of what bytes."""
        row = (self.namespace, skill.name, skill.version, source, sha256, time.time())
        self._database.write(
            lambda connection: connection.execute("INSERT OR REPLACE INTO skill_imports VALUES (?, ?, ?, ?, ?, ?)", row)
        )

    def follow(self, *names: str) -> None:
        """Tell who has the library in memory, and bring the folders on disk to what is live by these names.

        A disk that refuses is told of, and tried later.
        """
        self.bell.ring()
        try:
            with self.mirror.locked():
                for name in names:
                    newest = self.get(name)
                    live = newest if newest.state in LIVE_STATES else None
                    self.mirror.follow(name, live, self.candidate(name))
        except (OSError, MetaClawError) as error:  # what was committed stands; a sweep makes this good
            log.error("the folder of %s does not show what is live: %s", ", ".join(names), error)

    def _move(
        self, skill: Skill, state: SkillState, reason: str, cause: str = "", *, vouched: bool = False
    ) -> int:
        def work(connection: Connection) -> int:
            change = Transaction(connection, self.namespace)
            row = connection.execute(
                "SELECT state FROM skills WHERE namespace = ? AND name = ? AND version = ?",
                (self.namespace, skill.name, skill.version),
            ).fetchone()
            if row is not None and row[0] == skill.state.value:
                if vouched:
                    hearsay.lift(connection, self.namespace, skill)
                hearsay.require_vouched(connection, self.namespace, skill, state)
                if state in LIVE_STATES:
                    change.give_way(skill.name, skill.version)
                    stale.lift(connection, self.namespace, _subject(skill))
                raised = (skill.state in LIVE_STATES) != (state in LIVE_STATES)
                change.set_state(skill, state, reason, raise_generation=raised, cause=cause)
            return change.generation()

        generation = self._database.write(work)
        self.follow(skill.name)
        return generation

    def _merged_in(self, name: str, generation: int) -> list[Skill]:
        """What a merge into `name` retired, as it was before; what has come back since by itself is left alone."""
        rows = self._database.read(
            "SELECT name, version, old_state FROM skill_history WHERE namespace = ? AND generation = ? AND cause = ?"
            " AND name <> ? AND new_state = 'retired'",
            (self.namespace, generation, undo.MERGE, name),
        )
        return [
            dataclasses.replace(found, state=SkillState(old))
            for gone, version, old in rows if self.get(gone).state not in LIVE_STATES
            for found in self.versions(gone) if found.version == version
        ]


def _subject(skill: Skill) -> str:
    return f"skill:{skill.ref}"
