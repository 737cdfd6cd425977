"""A program that a model is offered, fails beside, and never calls, ends; one that it calls or does well with stays."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from metaclaw.evolve.failure import Failure
from metaclaw.evolve.trials import OFFERS, UNCALLED, Trials
from metaclaw.library.catalog import Catalog
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.types import Signal, Skill, SkillKind, SkillState, ToolUse, Turn
from support import NAMESPACE, keep, make_skill, make_turn

FAILED, WELL, UNKNOWN = -1.0, 1.0, None


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    return Catalog(database, NAMESPACE, tmp_path / "skills")


@pytest.fixture
def program(catalog: Catalog) -> Skill:
    return catalog.publish(make_skill("hours", kind=SkillKind.CODE), SkillState.ACTIVE, "its tests pass", [])[0]


async def turn_with(database: Database, program: Skill, value: float | None, *, called: bool = False) -> Turn:
    skills = (program.ref,) if called else ()
    turn = make_turn(skills=skills, tools=ToolUse((program.ref,)))
    await keep(database, turn)
    if value is not None:
        ledger.record(database, NAMESPACE, [Signal(turn.id, "feedback", value, "said so")])
    return turn


async def test_what_was_never_called_ends_with_the_last_of_some_failures(
    database: Database, catalog: Catalog, program: Skill
) -> None:
    trials = Trials(database, catalog)
    for number in range(1, OFFERS + 1):
        await turn_with(database, program, UNKNOWN)
        turn = await turn_with(database, program, FAILED)
        ended = trials.put_away(Failure(turn, "No."))
        assert [one.ref for one in ended] == ([program.ref] if number == OFFERS else [])
    assert catalog.live() == []
    assert catalog.history(program.name)[-1][4] == UNCALLED
    restored, _ = catalog.rollback(program.name, "undo")
    assert restored
    assert restored.state is SkillState.ACTIVE


@pytest.mark.parametrize("value", [FAILED, WELL])
async def test_one_that_was_called_among_the_last_stays(
    database: Database, catalog: Catalog, program: Skill, value: float
) -> None:
    await turn_with(database, program, value, called=True)
    for _ in range(OFFERS - 1):
        turn = await turn_with(database, program, FAILED)
        assert Trials(database, catalog).put_away(Failure(turn, "No.")) == []
    assert [one.ref for one in catalog.live()] == [program.ref]


async def test_so_does_one_beside_which_the_model_did_well(
    database: Database, catalog: Catalog, program: Skill
) -> None:
    for value in (FAILED, WELL, *[FAILED] * (OFFERS - 1)):
        turn = await turn_with(database, program, value)
        assert Trials(database, catalog).put_away(Failure(turn, "No.")) == []


async def test_so_does_what_a_person_wrote_or_pinned_and_what_was_not_offered(
    database: Database, catalog: Catalog, program: Skill
) -> None:
    mine, _ = catalog.publish(
        make_skill("mine", kind=SkillKind.CODE, origin="person"), SkillState.ACTIVE, "by hand", []
    )
    catalog.pin(program.name, "stays")
    for _ in range(OFFERS):
        turn = make_turn(tools=ToolUse((program.ref, mine.ref)))
        await keep(database, turn)
        ledger.record(database, NAMESPACE, [Signal(turn.id, "feedback", FAILED, "said so")])
        assert Trials(database, catalog).put_away(Failure(turn, "No.")) == []
    catalog.unpin(program.name, "no longer")
    unoffered = dataclasses.replace(turn, tools=None)
    assert Trials(database, catalog).put_away(Failure(unoffered, "No.")) == []
    assert [one.ref for one in Trials(database, catalog).put_away(Failure(turn, "No."))] == [program.ref]
