"""The table `hearsay`: versions of skills whose words nobody vouches for. Written within the library's transactions.

Words out of a conversation may be somebody else's, passed on; and so may those that reach beyond the reply. A version
that was made of them is never `active`: the store itself refuses it (triggers in migration 12). A person's approval, or
corroboration by others, takes the row away.
"""

from __future__ import annotations

import time

from metaclaw.errors import SkillError
from metaclaw.store import Connection
from metaclaw.types import Skill, SkillState

REFUSED = (
    "Nobody vouches for the words of skill '{0}' yet: it cannot be active."
    " `metaclaw skills approve {0}` vouches for it."
)


def mark(connection: Connection, namespace: str, skill: Skill) -> None:
    connection.execute(
        "INSERT OR IGNORE INTO hearsay VALUES (?, ?, ?, ?)", (namespace, skill.name, skill.version, time.time())
    )


def lift(connection: Connection, namespace: str, skill: Skill) -> None:
    connection.execute(
        "DELETE FROM hearsay WHERE namespace = ? AND name = ? AND version = ?", (namespace, skill.name, skill.version)
    )


def holds(connection: Connection, namespace: str, skill: Skill) -> bool:
    """Whether nobody vouches for this version."""
    found = connection.execute(
        "SELECT 1 FROM hearsay WHERE namespace = ? AND name = ? AND version = ?",
        (namespace, skill.name, skill.version),
    )
    return found.fetchone() is not None


def require_vouched(connection: Connection, namespace: str, skill: Skill, state: SkillState) -> None:
    """Raise `SkillError` where the version would become active and nobody vouches for it."""
    if state is SkillState.ACTIVE and holds(connection, namespace, skill):
        raise SkillError(REFUSED.format(skill.name))
