"""One change of a namespace's library: what it consists of, statement by statement, in one transaction of `Catalog`."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterable, Sequence
from typing import Any

from metaclaw.errors import SkillError
from metaclaw.library import hearsay
from metaclaw.library.reader import LIVE, SKILL_COLUMNS, as_skill
from metaclaw.store import Connection
from metaclaw.types import LIVE_STATES, Skill, SkillState

MOST_CUES = 24  # of a skill, the newest


class Transaction:
    """Writes rows of `skills`, `skill_history`, `support` and `generations`. Lives as long as its transaction does."""

    def __init__(self, connection: Connection, namespace: str) -> None:
        self._connection = connection
        self._namespace = namespace

    def insert(
        self, skill: Skill, state: SkillState, reason: str, generation: int, cause: str = "", *, unvouched: bool = False
    ) -> Skill:
        """A new version, in place of what is live by its name where it is live itself. Raises `SkillError` where it
        would be active and nobody vouches for its words.
        """
        if unvouched and state is SkillState.ACTIVE:
            raise SkillError(hearsay.REFUSED.format(skill.name))
        version: Any = self._connection.execute(
            "SELECT coalesce(max(version), 0) + 1 FROM skills WHERE namespace = ? AND name = ?",
            (self._namespace, skill.name),
        ).fetchall()[0][0]
        cues = skill.cues or self._last_cues(skill.name)
        if state in LIVE_STATES:
            self.give_way(skill.name, version)
        fresh = dataclasses.replace(skill, version=version, state=state, cues=cues[-MOST_CUES:])
        self._connection.execute(
            "INSERT INTO skills VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._namespace, fresh.name, version, state.value, fresh.origin, fresh.description, fresh.body,
                generation, time.time(), fresh.kind.value, json.dumps(fresh.files) if fresh.files else "",
                as_stored(fresh.cues),
            ),
        )
        if unvouched:
            hearsay.mark(self._connection, self._namespace, fresh)
        self.note(generation, fresh, None, state, reason, cause)
        return fresh

    def _last_cues(self, name: str) -> tuple[tuple[str, str], ...]:
        """Those of the version that is live by this name: an edit of its text is found as it was."""
        row = self._connection.execute(
            f"SELECT {SKILL_COLUMNS} FROM skills WHERE namespace = ? AND name = ? AND {LIVE}", (self._namespace, name)
        ).fetchone()
        return as_skill(row).cues if row else ()

    def give_way(self, name: str, version: int) -> None:
        """What is live by this name is so no longer, since `version` takes its place."""
        self._connection.execute(
            f"UPDATE skills SET state = 'retired' WHERE namespace = ? AND name = ? AND version <> ? AND {LIVE}",
            (self._namespace, name, version),
        )

    def support(self, skill: Skill, turns: Iterable[str]) -> None:
        """It came from these turns too."""
        self._connection.executemany(
            "INSERT OR IGNORE INTO support VALUES (?, ?, ?, ?)",
            [(self._namespace, turn_id, skill.name, skill.version) for turn_id in turns],
        )

    def set_state(
        self, skill: Skill, state: SkillState, reason: str, *, raise_generation: bool, cause: str = ""
    ) -> None:
        """With its line in the history."""
        self._connection.execute(
            "UPDATE skills SET state = ? WHERE namespace = ? AND name = ? AND version = ?",
            (state.value, self._namespace, skill.name, skill.version),
        )
        generation = self.raise_generation() if raise_generation else self.generation()
        self.note(generation, skill, skill.state, state, reason, cause)

    def note(
        self, generation: int, skill: Skill, old: SkillState | None, new: SkillState, why: str, cause: str
    ) -> None:
        """A line in the history."""
        self._connection.execute(
            "INSERT INTO skill_history (namespace, generation, name, version, old_state, new_state, reason, created_at,"
            " cause) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._namespace, generation, skill.name, skill.version, old.value if old else None, new.value, why,
                time.time(), cause,
            ),
        )

    def raise_generation(self) -> int:
        """What may be injected changes. Returns the new generation."""
        self._connection.execute(
            "INSERT INTO generations VALUES (?, 1) ON CONFLICT DO UPDATE SET generation = generation + 1",
            (self._namespace,),
        )
        return self.generation()

    def generation(self) -> int:
        """The library's, in this transaction."""
        asked = "SELECT generation FROM generations WHERE namespace = ?"
        row = self._connection.execute(asked, (self._namespace,)).fetchone()
        return int(row[0]) if row else 0


def as_stored(cues: Sequence[tuple[str, str]]) -> str:
    """What `reader.as_skill` reads back."""
    return json.dumps(cues, ensure_ascii=False) if cues else ""
