"""Requests of a failure's kind that can be scored or went well, a few of other kinds, and edits that were not taken."""

from __future__ import annotations

from metaclaw.evolve import rejected
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.kin import Kin, kin_of
from metaclaw.evolve.rejected import RejectedEdit
from metaclaw.evolve.unrelated import BUILT_IN, Probe, spill
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.types import Signal, Turn
from support import NAMESPACE, embedder, keep, make_feedback, make_turn

QUERY = "Suggest a file name for the notes of the {}."
PATTERN = r"\d{8}_\w+\.md"


async def said_of(
    database: Database, query: str, value: float, pattern: str | None = PATTERN, reply: str = "r"
) -> Turn:
    turn = make_turn(query, reply)
    await keep(database, turn, make_feedback(turn, "", value, pattern))
    ledger.record(database, NAMESPACE, [Signal(turn.id, "check", value, "checked", turn.id)])
    return turn


def kin(database: Database, failed: Turn) -> Kin:
    return kin_of(Failure(failed, "Date first."), database, embedder().embed)


async def test_an_empty_journal_gives_the_built_in_probes(database: Database) -> None:
    failed = make_turn(QUERY.format("party"))
    assert kin(database, failed) == Kin((), (), BUILT_IN)


async def test_what_is_like_it_is_a_case_and_what_went_well_an_example(database: Database) -> None:
    failed = await said_of(database, QUERY.format("party"), -1)
    good = await said_of(database, QUERY.format("budget"), 1)
    bad = await said_of(database, QUERY.format("meeting"), -1)
    await said_of(database, QUERY.format("party"), -1)  # asks the same: no second case
    unscored = await said_of(database, QUERY.format("lecture"), 1, pattern=None)
    other = await said_of(database, "How long does green tea steep?", 1, None, "Two minutes.")
    await said_of(database, "Which bird sings at night?", -1)  # went wrong: no measure
    await keep(database, make_turn(QUERY.format("walk")))  # nothing was said of it
    found = kin(database, failed)
    assert {case.turn.id for case in found.cases} == {good.id, bad.id}
    assert {turn.id for turn in found.successes} == {good.id, unscored.id}
    assert [probe.turn.id for probe in found.probes[len(BUILT_IN) :] if probe.turn] == [other.id]
    assert kin(database, failed) == found or [p.asked for p in kin(database, failed).probes] == [
        p.asked for p in found.probes
    ]


async def test_a_check_measures_only_what_a_probe_can_hold(database: Database) -> None:
    failed = await said_of(database, QUERY.format("party"), -1)
    await said_of(database, "Which tea is green?", 1, ".*", reply="Sencha.")
    await said_of(database, "Which birds sing at night?", 1, ".*", reply="The nightingale does. " * 20)
    found = {probe.asked: probe.passes is not None for probe in kin(database, failed).probes[len(BUILT_IN) :]}
    assert found == {"Which tea is green?": True, "Which birds sing at night?": False}


def test_a_reply_is_spoilt_where_the_skills_words_take_the_place_of_its_own() -> None:
    probe, block = Probe("How long does tea steep?"), "## files\nA file name starts with the date as YYYYMMDD."
    assert spill(probe, "Two minutes.", "20260304 file name date", block) is not None
    assert spill(probe, "Two minutes.", "About two minutes, at eighty degrees.", block) is None
    assert spill(BUILT_IN[0], "13", "20260413", block) is not None
    assert spill(BUILT_IN[0], "no idea", "20260413", block) is None  # it was not right without the skill either


async def test_rejected_edits_come_back_for_failures_like_theirs(database: Database) -> None:
    turn_query = QUERY.format("party")

    def edit(turn_id: str, body: str, query: str) -> RejectedEdit:
        return RejectedEdit(turn_id, "create", "x", body, "model", query, "does not mend", ((query, "bad"),))

    await keep(database, make_turn(id="t"))
    for one in (edit("t", "Rule one.", turn_query), edit("t", "Rule one.", turn_query), edit("t", "", turn_query),
                edit("t", "Rule two.", "How long does green tea steep?")):
        rejected.record(database, NAMESPACE, one)
    found = rejected.on_failures_like(database, NAMESPACE, QUERY.format("budget"), embedder().embed)
    assert found == [edit("t", "Rule one.", turn_query)]
    assert len(rejected.newest(database, NAMESPACE)) == 4
    assert rejected.newest(database, "other") == []
