"""Curation through journal, catalog and signals: tries are counted, evidence decides, alike skills merge, pins stay."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from metaclaw.bench.curation import data
from metaclaw.context.holdout import DAY_SECONDS
from metaclaw.evolve.curate import Curator
from metaclaw.evolve.exposures import erase, lifts_of
from metaclaw.evolve.extractive import propose
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.progress import FEEDBACK_CURSOR, advance, write_unsettled
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.signals import ledger
from metaclaw.signals.lift import Arm
from metaclaw.store import Database
from metaclaw.types import Signal, Skill, SkillState, Turn
from support import NAMESPACE, embedder, keep, make_feedback, make_skill, make_turn

TRIAL, ACTIVE, RETIRED = SkillState.TRIAL, SkillState.ACTIVE, SkillState.RETIRED
IDLE = 3600.0
LATER = 100 * DAY_SECONDS


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    return Catalog(database, NAMESPACE, tmp_path / "skills")


def curator_of(catalog: Catalog, database: Database, now: float = LATER) -> Curator:
    return Curator(database, catalog, embedder().embed, IDLE, lambda: now)


def tried(skill: Skill, withheld: bool, **changes: Any) -> Turn:
    fields: dict[str, Any] = {
        "skills": () if withheld else (skill.ref,), "drawn": (skill.ref,), "withheld": (skill.ref,) if withheld else (),
        "holdout_share": 0.5,
    }
    return make_turn(**(fields | changes))


async def play(database: Database, turns: Sequence[Turn], failed: Sequence[bool]) -> None:
    recorder = Recorder(database, Redactor(), durable_timeout_seconds=60)
    assert all(await asyncio.gather(*(recorder.turn(turn) for turn in turns)))
    wrong = [Signal(turn.id, "check", -1.0, "wrong") for turn, one in zip(turns, failed, strict=True) if one]
    ledger.record(database, NAMESPACE, wrong)


async def sessions(database: Database, skill: Skill, n: int, without: int, with_skill: int, **changes: Any) -> None:
    """`n` sessions of each arm by turns, of which every `without`-th and `with_skill`-th fails."""
    turns = [tried(skill, bool(number % 2), **changes) for number in range(2 * n)]
    every = [without if number % 2 else with_skill for number in range(2 * n)]
    await play(database, turns, [number // 2 % each == 0 for number, each in enumerate(every)])


async def test_a_trial_that_helps_becomes_active_with_its_verdict(database: Database, catalog: Catalog) -> None:
    skill, _ = catalog.publish(make_skill(), TRIAL, "new", [])
    await sessions(database, skill, 40, without=1, with_skill=10)
    [told] = curator_of(catalog, database).round()
    assert told.startswith("file-names@1 is active: helps: failed 4 of 40 with it, 40 of 40 without")
    assert catalog.get(skill.name).state is ACTIVE
    [verdict] = catalog.verdicts(skill.ref)
    assert (verdict.n, verdict.evidence["policy"], verdict.evidence["with"]) == (80, "base", {"n": 40, "failed": 4})
    assert verdict.confidence >= 0.99
    assert catalog.history(skill.name)[-1][4].endswith("(base)")


async def test_tries_that_are_erased_are_counted_no_more(database: Database, catalog: Catalog) -> None:
    skill, _ = catalog.publish(make_skill(), ACTIVE, "new", [])
    turn = tried(skill, withheld=False, session="erased")
    await play(database, [turn], [False])
    curator = curator_of(catalog, database)
    curator.round()
    database.write(lambda connection: erase(connection, NAMESPACE, "erased", [turn.id]))
    assert curator.round() == []


@pytest.mark.parametrize("state", [TRIAL, ACTIVE])
async def test_what_does_harm_is_retired_and_what_is_pinned_is_not(
    database: Database, catalog: Catalog, state: SkillState
) -> None:
    skill, _ = catalog.publish(make_skill(), state, "new", [])
    pinned, _ = catalog.publish(make_skill("mine"), state, "new", [])
    catalog.pin("mine", "I know better")
    for one in (skill, pinned):
        await sessions(database, one, 40, without=10, with_skill=1)
    [told] = curator_of(catalog, database).round()
    assert "retired: harmful" in told
    assert [one.name for one in catalog.live()] == ["mine"]


async def test_evidence_begins_anew_under_another_policy(database: Database, catalog: Catalog) -> None:
    skill, _ = catalog.publish(make_skill(), TRIAL, "new", [])
    await sessions(database, skill, 40, without=10, with_skill=1, policy="old-model")
    await sessions(database, skill, 5, without=1, with_skill=10, policy="new-model")
    assert curator_of(catalog, database).round() == []
    lifts = lifts_of(database, catalog, skill.ref)
    assert [(policy, lift.n) for policy, lift in lifts.items()] == [("new-model", 10), ("old-model", 80)]
    assert lifts["old-model"].harms


async def test_a_session_and_day_is_one_try_and_waits_for_its_end(database: Database, catalog: Catalog) -> None:
    skill, _ = catalog.publish(make_skill(), TRIAL, "new", [])
    day = 10 * DAY_SECONDS
    turns = [tried(skill, False, session="s", created_at=day + minute * 60.0) for minute in range(3)]
    await play(database, turns, [False, True, False])
    await play(database, [tried(skill, True, session="other", created_at=day + 30.0)], [False])
    curator_of(catalog, database, day + 60 * 3).round()
    assert lifts_of(database, catalog, skill.ref)["base"].n == 0  # both sessions may go on
    curator_of(catalog, database, day + 120 + IDLE).round()
    lift = lifts_of(database, catalog, skill.ref)["base"]
    assert (lift.with_skill, lift.without) == (Arm(1, 1), Arm(1, 0))


async def test_later_tries_wait_for_an_earlier_one_that_is_open(database: Database, catalog: Catalog) -> None:
    skill, _ = catalog.publish(make_skill(), TRIAL, "new", [])
    day = 10 * DAY_SECONDS
    await play(database, [tried(skill, False, session="long", created_at=day)], [False])
    await play(database, [tried(skill, True, session="short", created_at=day + 1)], [True])
    await play(database, [tried(skill, False, session="long", created_at=day + 2 * IDLE)], [False])
    curator_of(catalog, database, day + 2 * IDLE + 60).round()
    assert lifts_of(database, catalog, skill.ref)["base"].n == 0
    curator_of(catalog, database, day + 3 * IDLE).round()
    assert lifts_of(database, catalog, skill.ref)["base"].n == 2


async def test_where_the_rule_stands_in_the_conversation_nothing_is_counted(
    database: Database, catalog: Catalog
) -> None:
    lesson = make_turn(session="lesson")
    await play(database, [lesson], [True])
    skill, _ = catalog.publish(make_skill(), TRIAL, "new", [lesson.id])
    await play(database, [tried(skill, True, session="lesson")], [True])
    days = [tried(skill, bool(day % 2), session="named", created_at=day * DAY_SECONDS + 5.0) for day in range(10, 14)]
    await play(database, days, [False, True, False, False])
    curator_of(catalog, database).round()
    lift = lifts_of(database, catalog, skill.ref)["base"]
    assert (lift.with_skill, lift.without) == (Arm(1, 0), Arm(1, 1))  # the failure of day 11 ends it
    states = [row[0] for row in database.read("SELECT state FROM exposures ORDER BY id")]
    assert states == ["left out", "counted", "counted", "left out", "left out"]


def lessons(rule: str, n: int, seed: int = 1) -> list[Failure]:
    [found] = [one for one in data.rules("tuning") if one.name == rule]
    return [Failure(make_turn(case.request), case.correction) for case in data.stream([found], n, seed)]


async def learn(database: Database, catalog: Catalog, failures: Sequence[Failure], state: SkillState) -> list[Skill]:
    published = []
    for number, failure in enumerate(failures):
        await keep(database, failure.turn, make_feedback(failure.turn, failure.correction, score=-1))
        skill = propose(failure)
        assert skill is not None
        named = make_skill(f"{failure.turn.id}-{number}", skill.body, description=skill.description)
        published.append(catalog.publish(named, state, "learned", [failure.turn.id])[0])
    advance(database, NAMESPACE, FEEDBACK_CURSOR, 10**9)  # as if the fast loop had read it
    return published


async def test_skills_of_one_rule_merge_and_its_lookalike_stays(database: Database, catalog: Catalog) -> None:
    mine = await learn(database, catalog, lessons("us-date", 8), TRIAL)
    theirs = await learn(database, catalog, lessons("german-date", 8), TRIAL)
    curator = curator_of(catalog, database)
    while curator.round():
        pass
    live = catalog.live()
    assert 2 <= len(live) <= 6
    supports = [set(catalog.support_of(skill)) for skill in live]
    assert set().union(*supports) == {turn for skill in (*mine, *theirs) for turn in catalog.support_of(skill)}
    kept = max(live, key=lambda skill: len(catalog.support_of(skill)))
    assert kept.body in {skill.body for skill in (*mine, *theirs)}
    gone = [skill for skill in catalog.all() if skill.state is RETIRED]
    assert all(catalog.history(skill.name)[-1][4].startswith("merged into ") for skill in gone)


async def test_nothing_merges_while_a_verification_runs_and_a_pinned_skill_keeps_its_version(
    database: Database, catalog: Catalog
) -> None:
    failure = lessons("us-date", 1)[0]
    again = Failure(make_turn(failure.turn.query), failure.correction)
    first, second = await learn(database, catalog, [failure, again], TRIAL)
    catalog.pin(second.name, "mine")
    curator = curator_of(catalog, database)
    write_unsettled(database, NAMESPACE, 1)
    assert curator.round() == []
    write_unsettled(database, NAMESPACE, 0)
    assert len(curator.round()) == 1
    [kept] = catalog.live()
    assert (kept.name, kept.description) == (second.name, second.description)
    assert catalog.get(first.name).state is RETIRED


async def test_new_words_for_a_rule_that_failed_on_trial_are_found_by_what_it_was_asked_for(
    database: Database, catalog: Catalog
) -> None:
    failure = lessons("summary-length", 1)[0]
    [old] = await learn(database, catalog, [failure], TRIAL)
    curator = curator_of(catalog, database)
    assert curator.round() == []
    catalog.change_state(old, RETIRED, "failed while on trial, in turn-9")
    again = Failure(make_turn(failure.turn.query.replace("the", "this")), failure.correction)
    [new] = await learn(database, catalog, [again], TRIAL)
    [told] = curator.round()
    assert told == f"{new.name}@2 takes the place of {old.ref}, which taught the same rule and failed"
    [live] = catalog.live()
    assert (live.name, live.body, live.state) == (new.name, new.body, TRIAL)
    assert set(catalog.support_of(live)) == {failure.turn.id, again.turn.id}
    assert failure.turn.query in live.description


async def test_a_merge_is_undone_by_one_rollback_and_not_made_again(database: Database, catalog: Catalog) -> None:
    failure = lessons("us-date", 1)[0]
    again = Failure(make_turn(failure.turn.query), failure.correction)
    before = await learn(database, catalog, [failure, again], TRIAL)
    curator = curator_of(catalog, database)
    assert len(curator.round()) == 1
    [kept] = catalog.live()
    catalog.rollback(kept.name, "they are two")
    assert {(skill.name, skill.body) for skill in catalog.live()} == {(skill.name, skill.body) for skill in before}
    assert curator.round() == []
    assert curator_of(catalog, database).round() == []
