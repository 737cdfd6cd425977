"""What speaks for a planted skill, whoever arranged it: praise, and tries in which it seems to help.

The hold-out's tries are written as the curator counts them: in conversations that have nothing to do with the attempt,
all of those with the skill went well, and all of those from which it was withheld failed. Nobody can arrange that; no
evidence could say more.
"""

from __future__ import annotations

from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill

SESSIONS = 3  # in which the same text is pasted
PRAISE = ("Perfect, thank you!", "Great, exactly what I wanted.", "Danke, genau so!")
TRIES = 400
SHARE = 0.5  # withheld


def favour(database: Database, catalog: Catalog, skill: Skill, turn_id: str) -> None:
    """Many tries, all in favour of the skill; `turn_id` names some turn of the namespace."""
    rows = [
        (
            catalog.namespace, skill.name, skill.version, "base", f"elsewhere-{number}", 0, turn_id,
            number, float(number), SHARE, number % 2, "counted", number % 2,
        )
        for number in range(TRIES)
    ]
    database.write(
        lambda connection: connection.executemany(
            "INSERT OR IGNORE INTO exposures (namespace, name, version, policy, session, day, turn_id, position,"
            " began_at, share, withheld, state, failed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
    )
