"""The query that feeds training: support never, older generations never, over random histories on a real store."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from metaclaw.errors import SkillError
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.training.dataset import LEARNED, TESTED, Candidate, Dataset, importance_weighted, lines
from metaclaw.training.quiet import Quiet
from metaclaw.training.renewal import plain, renew
from metaclaw.training.selection import finished, renewable, select
from metaclaw.types import Sampled, Signal, SkillState, Turn, TurnKind
from support import NAMESPACE, keep, make_feedback, make_skill, make_turn

LEAST_STEPS = 10_000
SECRET = "Use sk-proj-" + "aB3dE6gH9j" * 3
NAMES = ["a", "b", "c"]


class Histories(RuleBasedStateMachine):
    """Agents work, users judge, skills come and go, adapters are promoted; and somebody builds a dataset at any time.

    The truth is kept beside the store: what was sampled under which generation, and what served as support.
    """

    steps = 0
    learned = 0
    weighed = 0
    renewed = 0

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.database = Database(self.folder / "store.db")
        self.catalog = Catalog(self.database, NAMESPACE, self.folder / "skills")
        self.recorder = Recorder(self.database, Redactor(), durable_timeout_seconds=30)
        self.turns: dict[str, Turn] = {}
        self.support: set[str] = set()
        self.asked_again: dict[str, str] = {}  # the calls whose reply held, with what they asked again
        self.policy = "base"

    def teardown(self) -> None:
        self.database.close()
        shutil.rmtree(self.folder)

    @invariant()
    def counted(self) -> None:
        type(self).steps += 1

    @rule(
        session=st.integers(0, 5), skilled=st.booleans(), kind=st.sampled_from([TurnKind.MAIN] * 4 + [TurnKind.SIDE]),
        complete=st.sampled_from([True] * 5 + [False]), stranger=st.sampled_from([False] * 6 + [True]),
        good=st.sampled_from([True, True, True, False]), told=st.sampled_from([True] * 4 + [False]),
        checked=st.sampled_from([True, True, False]),
        secret=st.sampled_from([False] * 3 + [True]),
    )
    def a_turn(
        self, session: int, skilled: bool, kind: TurnKind, complete: bool, stranger: bool, good: bool, told: bool,
        checked: bool, secret: bool,
    ) -> None:
        if skilled and not self.catalog.live():  # else few histories lead to training
            self.catalog.publish(make_skill(NAMES[0], "Rule: as it came."), SkillState.TRIAL, "test", set())
        live = self.catalog.live()
        turn = make_turn(
            session=f"s{session}", kind=kind, complete=complete, policy=self.policy,
            skills=tuple(skill.ref for skill in live) if skilled else (), generation=self.catalog.generation(),
            namespace="other" if stranger else NAMESPACE, reply=SECRET if secret else "notes.md",
            sampled=Sampled((len(self.turns), 7), (-0.5, -1.0)) if told else None,
        )
        checks = [make_feedback(turn, "", 1.0, r"notes\.md")] if checked else []
        asyncio.run(keep(self.database, turn, *checks))
        self.turns[turn.id] = turn
        if good:
            ledger.record(self.database, turn.namespace, [Signal(turn.id, "check", 1.0, "it passed")])

    @rule(which=st.integers(0, 10_000), value=st.sampled_from([1.0, 1.0, -1.0, None]), source=st.sampled_from(
        ["check", "feedback", "judge"]
    ))
    def a_judgement_that_comes_late(self, which: int, value: float | None, source: str) -> None:
        if self.turns:
            turn = self._some(which)
            ledger.record(self.database, turn.namespace, [Signal(turn.id, source, value, "told", str(which))])

    @rule(name=st.sampled_from(NAMES), which=st.lists(st.integers(0, 10_000), max_size=3), held=st.booleans())
    def a_skill_is_written(self, name: str, which: list[int], held: bool) -> None:
        """`held`: it waits, and the generation does not move; its support must stay out all the same."""
        turns = {turn.id for at in which if self.turns and (turn := self._some(at)).namespace == NAMESPACE}
        skill = make_skill(name, f"Rule {len(self.support)} of {name}.")
        if held:
            self.catalog.hold(skill, "waits", turns)
        else:
            self.catalog.publish(skill, SkillState.TRIAL, "test", turns)
        self.support |= turns

    @rule(name=st.sampled_from(NAMES), back=st.booleans())
    def a_skill_is_retired_or_rolled_back(self, name: str, back: bool) -> None:
        try:
            if back:
                self.catalog.rollback(name, "test")
            else:
                self.catalog.retire(name, "test")
        except SkillError:
            pass  # there was none to retire

    @rule(most=st.integers(1, 6), holds=st.sampled_from([True, True, False]), late=st.booleans())
    def turns_are_asked_again(self, most: int, holds: bool, late: bool) -> None:
        """`late`: a skill has just gone live, and put the day's turns out of use."""
        if late:
            self.catalog.publish(make_skill(NAMES[1], f"Rule {len(self.turns)}."), SkillState.TRIAL, "test", set())
        for candidate in plain(renewable(self.database, NAMESPACE, most)):
            live = tuple(skill.ref for skill in self.catalog.live())
            call = make_turn(
                session=candidate.turn.session, kind=TurnKind.SIDE, side="declared", policy=self.policy, skills=live,
                generation=self.catalog.generation(), reply="notes.md" if holds else "nothing",
                sampled=Sampled((len(self.turns), 7), (-0.5, -1.0)),
            )
            asyncio.run(self._ask_again(candidate, call))
            self.turns[call.id] = call
            if holds:
                self.asked_again[call.id] = candidate.turn.id
        if late:
            self.a_dataset_is_built(12)

    async def _ask_again(self, candidate: Candidate, call: Turn) -> None:
        async def ask(body: Mapping[str, Any], session: str) -> tuple[str, str]:
            await keep(self.database, call)
            return call.id, call.reply

        generation = self.catalog.generation()
        await renew(self.database, NAMESPACE, generation, [candidate], ask, Quiet().ask, {})

    @rule(number=st.integers(1, 9))
    def an_adapter_is_promoted(self, number: int) -> None:
        self.policy = f"base@lora-{number}"

    @rule(most=st.integers(1, 12))
    def a_dataset_is_built(self, most: int) -> None:
        data = select(self.database, NAMESPACE, most).data
        now = self.catalog.generation()
        entered = [entry for entry in data.manifest if entry.split in (*LEARNED, *TESTED)]
        assert used(data) == {entry.turn_id for entry in entered}
        for entry in entered:
            turn = self.turns[entry.turn_id]
            assert turn.generation == entry.generation == now, "a reward of another generation"
            first = self.turns[self.asked_again.get(turn.id, turn.id)]
            assert not {turn.id, first.id} & self.support, "support trains"
            assert (first.namespace, first.kind, first.complete) == (NAMESPACE, TurnKind.MAIN, True)
            assert (turn.namespace, turn.session, turn.complete) == (NAMESPACE, first.session, True)
            type(self).renewed += first is not turn
            assert entry.policy == turn.policy
            assert any(value and value > 0 for _, value in entry.signals)
        for example in data.train + data.query + data.replay + data.retention + data.safety:
            turn = self.turns[example.turn_id]
            assert example.sampled == (None if turn.reply == SECRET else turn.sampled)
        weighed = {one.example.turn_id: one.sampled for one in importance_weighted(data.train)}
        assert all(sampled == self.turns[turn_id].sampled for turn_id, sampled in weighed.items())
        rows = {row["id"]: row for row in map(json.loads, lines(data, [], data.query, "base"))}
        assert {turn_id for turn_id, row in rows.items() if row["sampled"]} == weighed.keys(), "text only is weighed"
        type(self).weighed += len(weighed)
        mine = {turn.id for turn in self.turns.values() if turn.namespace == NAMESPACE}
        assert {entry.turn_id for entry in data.manifest} == mine, "each turn has its reason"
        assert all(entry.reason for entry in data.manifest)
        learned = {entry.session for entry in entered if entry.split in LEARNED}
        assert not learned & {entry.session for entry in entered if entry.split in TESTED}
        assert len(data.train) <= most
        type(self).learned += len(entered)

    def _some(self, which: int) -> Turn:
        """The newest are what is judged and learned from, mostly."""
        return list(self.turns.values())[-1 - which % min(len(self.turns), 6)]


def used(data: Dataset) -> set[str]:
    parts = (data.train, data.query, data.replay, data.retention, data.safety)
    return {example.turn_id for part in parts for example in part}


def test_support_and_older_generations_never_train_over_random_histories() -> None:
    Histories.steps = Histories.learned = Histories.weighed = Histories.renewed = 0
    run_state_machine_as_test(
        Histories,
        settings=settings(
            max_examples=225, stateful_step_count=50, deadline=None, suppress_health_check=list(HealthCheck),
            derandomize=True, database=None,
        ),
    )
    assert Histories.steps >= LEAST_STEPS
    assert Histories.learned > 100  # the histories do lead somewhere; how far depends on the numbers in the names
    assert Histories.weighed > 20
    assert Histories.renewed > 20


async def test_only_whole_main_turns_of_exactly_this_generation_are_taken(database: Database, tmp_path: Path) -> None:
    catalog = Catalog(database, NAMESPACE, tmp_path / "skills")
    for name in ("a", "b"):
        catalog.publish(make_skill(name), SkillState.ACTIVE, "test", [])
    right = make_turn(generation=2)
    others: dict[str, dict[str, Any]] = {
        "of another generation of the library": {"generation": 1},
        "a side call": {"generation": 2, "kind": TurnKind.SIDE},
        "its reply did not come to its end": {"generation": 2, "complete": False},
    }
    turns = [right, *(make_turn(**fields) for fields in others.values())]
    failed, stranger = make_turn(generation=2, status=500), make_turn(generation=2, namespace="other")
    await keep(database, *turns, failed, stranger, make_turn(generation=3))
    await keep(database, make_feedback(right, "good", 1.0, r"\w+"))
    ledger.record(database, NAMESPACE, [Signal(right.id, "check", 1.0, "it passed")])
    data = select(database, NAMESPACE, 9).data
    [example] = data.replay
    assert (example.turn_id, example.check and example.check.pattern, example.sampled) == (right.id, r"\w+", None)
    assert [entry.reason for entry in data.manifest] == [
        "proven by its signals (check)", *others, "its reply did not come to its end",
        "of another generation of the library",
    ]
    short = select(database, NAMESPACE, 9, explain=False)
    assert [entry.turn_id for entry in short.data.manifest] == [right.id]
    assert (short.fresh(0), short.through) == (0, 1)


async def test_what_the_engine_sampled_comes_with_its_turn(database: Database) -> None:
    turn = make_turn()
    await keep(database, turn)
    ledger.record(database, NAMESPACE, [Signal(turn.id, "check", 1.0, "it passed")])
    database.write(lambda connection: connection.execute(
        "INSERT INTO samples VALUES (?, ?, ?, ?)",
        (turn.id, NAMESPACE, b"\x01\0\0\0\x02\x01\0\0", b"\0\0\0\xbf\0\0\x80\xbe"),
    ))
    [example] = select(database, NAMESPACE, 9).data.replay
    assert example.sampled is not None
    assert (example.sampled.tokens, example.sampled.logprobs) == ((1, 258), (-0.5, -0.25))


async def test_what_was_sampled_under_a_skill_that_nobody_vouches_for_trains_once_somebody_does(
    database: Database, tmp_path: Path
) -> None:
    catalog = Catalog(database, NAMESPACE, tmp_path / "skills")
    heard, generation = catalog.publish(make_skill(), SkillState.TRIAL, "overheard", [], unvouched=True)
    turn = make_turn(skills=(heard.ref,), generation=generation)
    await keep(database, turn)
    ledger.record(database, NAMESPACE, [Signal(turn.id, "check", 1.0, "right")])
    found = select(database, NAMESPACE, 10).data.manifest
    assert [(entry.turn_id, entry.reason) for entry in found] == [
        (turn.id, "under a skill that nobody vouches for")
    ]
    assert finished(database, NAMESPACE) == []
    catalog.approve(heard, "a person")
    assert [candidate.turn.id for candidate in finished(database, NAMESPACE)] == [turn.id]
