"""The tries of the skills: which session and day went with a skill, which without, and whether it failed.

Owns `exposures`. A try begins with the first turn in a session, a day and under a policy version that a skill was drawn
for, and ends with the session or an hour of silence after the day. Then it is counted, with whether any of its turns
failed. A turn that nobody complained of has not failed: to leave it out would compare only what was spoken of, and a
skill changes what is. Left out are tries in which the rule stood in the conversation anyway: in the sessions that the
skill was written from, and after a failure in the same session; which of them is known before the coin has any effect.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from metaclaw.context.holdout import DAY_SECONDS, day_of
from metaclaw.evolve.progress import advance, cursor
from metaclaw.journal import draws
from metaclaw.library.catalog import Catalog
from metaclaw.signals import ledger
from metaclaw.signals.lift import Lift, Try, lift_of
from metaclaw.store import Connection, Database

DRAW_CURSOR = "measure-draws"
SETTLED_AT_ONCE = 200


def begin_tries(database: Database, namespace: str) -> int:
    """Open the tries of the turns that came since. Returns how many turns were read."""
    turns = draws.drawn_after(database, namespace, cursor(database, namespace, DRAW_CURSOR))
    rows = [
        (
            namespace, *_parts(ref), turn.policy, turn.session, day_of(turn.created_at), turn.id, turn.position,
            turn.created_at, turn.share, int(ref in turn.withheld),
        )
        for turn in turns for ref in turn.drawn
    ]  # fmt: skip

    def work(connection: Connection) -> None:
        connection.executemany(
            "INSERT OR IGNORE INTO exposures (namespace, name, version, policy, session, day, turn_id, position,"
            " began_at, share, withheld) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )

    if turns:
        database.write(work)
        advance(database, namespace, DRAW_CURSOR, turns[-1].position)
    return len(turns)


def end_tries(database: Database, namespace: str, idle_seconds: float, now: float) -> int:
    """Count what is over. Returns how many tries were settled."""
    rows = database.read(
        "SELECT id, name, version, policy, session, day, position FROM exposures"
        " WHERE namespace = ? AND state = 'open' ORDER BY id",
        (namespace,),
    )
    done: list[tuple[str, int | None, int]] = []
    failed_here: set[tuple[str, str]] = set()  # what this round found is not in the store yet
    for number, name, version, policy, session, day, position in rows:
        day_ends = (day + 1) * DAY_SECONDS
        if now < min(draws.ends_at(database, namespace, session, idle_seconds), day_ends + idle_seconds):
            continue
        if (session, name) in failed_here or _told_before(database, namespace, name, session, position):
            done.append(("left out", None, number))
        else:
            ref = f"{name}@{version}"
            turns = draws.turns_under(database, namespace, session, policy, ref, position, day_ends)
            failed = any(ledger.outcome_of(database, namespace, turn).failed for turn in turns)
            failed_here |= {(session, name)} if failed else set()
            done.append(("counted", int(failed), number))
        if len(done) == SETTLED_AT_ONCE:
            break
    if done:
        database.write(
            lambda connection: connection.executemany("UPDATE exposures SET state = ?, failed = ? WHERE id = ?", done)
        )
    return len(done)


def tries_of(database: Database, namespace: str, name: str, versions: Sequence[int], policy: str) -> list[Try]:
    """The counted tries in the order in which they began, up to the first that is still open.

    What comes after it waits: failures are known sooner than their absence, and must not be counted sooner.
    """
    rows = database.read(
        "WITH tried AS (SELECT * FROM exposures WHERE namespace = ?1 AND name = ?2 AND policy = ?3"
        " AND version IN (SELECT value FROM json_each(?4)))"
        " SELECT share, withheld, failed FROM tried WHERE state = 'counted'"
        " AND id < coalesce((SELECT min(id) FROM tried WHERE state = 'open'), 9e18) ORDER BY id",
        (namespace, name, policy, json.dumps(versions)),
    )
    return [Try(share, bool(withheld), bool(failed)) for share, withheld, failed in rows]


def lifts_of(database: Database, catalog: Catalog, skill_ref: str) -> dict[str, Lift]:
    """How much a version of a skill helps under each policy version, the latest first.

    Versions that inject the same text are one: what they are found by may have been widened.
    """
    name, versions = skill_ref.rpartition("@")[0], catalog.wordings(skill_ref)
    rows = database.read(
        "SELECT policy FROM exposures WHERE namespace = ? AND name = ?"
        " AND version IN (SELECT value FROM json_each(?)) GROUP BY policy ORDER BY max(id) DESC",
        (catalog.namespace, name, json.dumps(versions)),
    )
    return {
        policy: lift_of(tries_of(database, catalog.namespace, name, versions, policy)) for policy, in rows
    }


def settled_tries(database: Database, namespace: str) -> dict[str, int]:
    """How many tries by each skill's name are over: where that number stays, so does the evidence."""
    rows = database.read(
        "SELECT name, count(*) FROM exposures WHERE namespace = ? AND state <> 'open' GROUP BY name", (namespace,)
    )
    return {row[0]: row[1] for row in rows}


def _told_before(database: Database, namespace: str, name: str, session: str, position: int) -> bool:
    """Whether the rule stood in the conversation before this try, by the skill's own origin or a failure since."""
    rows = database.read(
        "SELECT 1 FROM support JOIN turns ON turns.id = support.turn_id WHERE support.namespace = ?1"
        " AND support.name = ?2 AND turns.session = ?3 AND turns.position < ?4"
        " UNION ALL SELECT 1 FROM exposures WHERE namespace = ?1 AND session = ?3 AND name = ?2 AND position < ?4"
        " AND failed = 1 LIMIT 1",
        (namespace, name, session, position),
    )
    return bool(rows)


def _parts(skill_ref: str) -> tuple[str, int]:
    name, _, version = skill_ref.rpartition("@")
    return name, int(version)


def erase(connection: Connection, namespace: str, session: str, turn_ids: Iterable[str]) -> None:
    """Delete a session's tries, within a transaction of the caller's: what they counted for is no longer known."""
    connection.execute("DELETE FROM exposures WHERE namespace = ? AND session = ?", (namespace, session))
    connection.executemany("DELETE FROM exposures WHERE turn_id = ?", [(turn_id,) for turn_id in turn_ids])
