"""Turns at a glance: which are shown, in what order, and counted how."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from metaclaw.journal import glances
from metaclaw.store import Database
from metaclaw.types import TurnKind
from support import NAMESPACE, keep, make_turn


async def test_the_newest_come_first_page_by_page_and_cut(database: Database) -> None:
    turns = [make_turn(query=f"{n} " + "x" * 1000, session=f"s{n % 2}") for n in range(5)]
    await keep(database, *turns, make_turn(kind=TurnKind.SIDE), make_turn(namespace="other"))
    first = glances.newest(database, NAMESPACE, 2)
    assert [one.id for one in first] == [turns[4].id, turns[3].id]
    assert len(first[0].query) == glances.SHOWN
    after = glances.newest(database, NAMESPACE, 9, before=first[-1].position)
    assert [one.id for one in after] == [turns[2].id, turns[1].id, turns[0].id]
    assert [one.id for one in glances.newest(database, NAMESPACE, 9, session="s1")] == [turns[3].id, turns[1].id]


async def test_some_are_read_by_their_ids(database: Database) -> None:
    one, two = make_turn(skills=("a@1",), withheld=("b@2",)), make_turn(complete=False)
    foreign = make_turn(namespace="other")
    await keep(database, one, two, foreign)
    found = glances.named(database, NAMESPACE, [one.id, "none", foreign.id, two.id])
    assert [(row.id, row.skills, row.withheld, row.complete) for row in found] == [
        (two.id, (), (), False), (one.id, ("a@1",), ("b@2",), True)
    ]


async def test_they_are_counted_by_time_policy_and_kind(database: Database) -> None:
    assert glances.first_at(database, NAMESPACE) is None
    assert glances.last_position(database, NAMESPACE) == 0
    await keep(
        database, make_turn(created_at=10.0, policy="a"), make_turn(created_at=20.0, policy="b"),
        make_turn(created_at=21.0, policy="b"), make_turn(created_at=5.0, kind=TurnKind.SIDE),
        make_turn(created_at=1.0, namespace="other"),
    )
    assert glances.policies_between(database, NAMESPACE, 10.0, 21.0) == {"a": 1, "b": 1}
    assert next(iter(glances.policies_between(database, NAMESPACE, 0.0, 99.0))) == "b"
    assert glances.first_at(database, NAMESPACE) == 10.0
    assert glances.counts(database, NAMESPACE)[:2] == (3, 1)
    assert glances.last_position(database, NAMESPACE) == 4


async def test_a_day_is_read_without_the_rows(database: Database) -> None:
    """They hold whole conversations: the plan must be led by the time, and be content with the index."""
    seen: list[str] = []

    class Explained(Database):
        def read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
            seen.extend(str(row[3]) for row in database.read(f"EXPLAIN QUERY PLAN {sql}", values))
            return []

    glances.policies_between(Explained.__new__(Explained), NAMESPACE, 0.0, 1.0)
    assert "COVERING INDEX turns_by_time (created_at>" in seen[0]
