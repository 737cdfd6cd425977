"""What the library does when the turns behind some of its skills are erased.

In: the ids of the turns. Out: the skills that came from them (`dependents`). Those go out of use and wait for a person
(`set_aside`): approving one says that its rule may stay. `erase` takes their words away too.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Sequence

from metaclaw.library.catalog import Catalog
from metaclaw.library.descent import Made, descended
from metaclaw.store import Connection, Database, stale
from metaclaw.types import LIVE_STATES, Skill, SkillState

WHY = "a session that it came from was erased"


def dependents(database: Database, catalog: Catalog, turn_ids: Collection[str], source: str) -> list[Skill]:
    """Every version that came from these turns, or that the erasing of `source` made stale; oldest first of a name."""
    rows = database.read("SELECT turn_id, name, version FROM support WHERE namespace = ?", (catalog.namespace,))
    written = [(name, version) for turn_id, name, version in rows if turn_id in turn_ids]
    known = stale.subjects(database, catalog.namespace, source)
    refs = descended(_history(database, catalog.namespace), written)
    return [
        skill for named in catalog.all() for skill in catalog.versions(named.name)
        if (skill.name, skill.version) in refs or f"skill:{skill.ref}" in known
    ]


def set_aside(catalog: Catalog, skills: Sequence[Skill], *, ask_again: bool) -> list[Skill]:
    """Take what is live of them out of use. With `ask_again` its text waits for a person, as a new version, unless a
    version that came from elsewhere waits already. Returns those new versions.
    """
    refs = {skill.ref for skill in skills}
    waits = []
    for name in sorted({skill.name for skill in skills}):
        waiting, live = catalog.candidate(name), catalog.get(name)
        if waiting and waiting.ref in refs:
            catalog.change_state(waiting, SkillState.RETIRED, WHY)
        if live.state not in LIVE_STATES or live.ref not in refs:
            continue
        catalog.change_state(live, SkillState.RETIRED, WHY)
        if ask_again and (waiting is None or waiting.ref in refs):
            waits.append(catalog.hold(live, WHY))
    return waits


def forget_support(
    connection: Connection, namespace: str, turn_ids: Iterable[str], skills: Sequence[Skill], source: str
) -> None:
    """Mark the skills stale, and take the turns out of what they were written from."""
    for skill in skills:
        stale.mark(connection, namespace, f"skill:{skill.ref}", WHY, source)
    turns = frozenset(turn_ids)
    connection.executemany("DELETE FROM support WHERE turn_id = ?", [(turn_id,) for turn_id in turns])
    for name, version, cues in connection.execute(
        "SELECT name, version, cues FROM skills WHERE namespace = ? AND cues <> ''", (namespace,)
    ).fetchall():
        kept = [cue for cue in json.loads(str(cues)) if cue[0] not in turns]
        connection.execute(
            "UPDATE skills SET cues = ? WHERE namespace = ? AND name = ? AND version = ?",
            (json.dumps(kept, ensure_ascii=False) if kept else "", namespace, name, version),
        )


def erase(connection: Connection, namespace: str, skills: Sequence[Skill]) -> None:
    """Take the words of these versions away, and any state in which they could be used."""
    for skill in skills:
        connection.execute(
            "UPDATE skills SET description = '', body = '', files = '', cues = '', state = 'retired'"
            " WHERE namespace = ? AND name = ? AND version = ?", (namespace, skill.name, skill.version),
        )
        connection.execute(
            "UPDATE skill_history SET reason = '' WHERE namespace = ? AND name = ? AND version = ?",
            (namespace, skill.name, skill.version),
        )


def _history(database: Database, namespace: str) -> list[Made]:
    rows = database.read(
        "SELECT generation, name, version, old_state IS NULL, cause FROM skill_history WHERE namespace = ? ORDER BY id",
        (namespace,),
    )
    return [Made(row[0], row[1], row[2], bool(row[3]), row[4]) for row in rows]

