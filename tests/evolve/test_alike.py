"""Which failures teach the same rule: many near pairs, and right answers that do not contradict each other."""

from __future__ import annotations

import pytest

from metaclaw.bench.curation import data
from metaclaw.evolve.alike import APART, Origin, agreement, ends_of, form_of, link, origins_of, rule_words
from metaclaw.evolve.curate import SAME_RULE
from metaclaw.evolve.failure import Failure
from support import embedder, make_turn


def cases(rule: str, n: int = 6, seed: int = 1) -> list[Origin]:
    [found] = [one for one in data.rules("tuning") if one.name == rule]
    told = [(case.request, Failure(make_turn(case.request), case.correction)) for case in data.stream([found], n, seed)]
    return origins_of([(f.turn.id, request, f.correction, f.expected) for request, f in told], embedder().embed)


def with_answer(answer: str, request: str = "Name it.") -> Origin:
    [case] = origins_of([("t", request, "Use the prefix.", answer)], embedder().embed)
    return case


@pytest.mark.parametrize(("one", "other", "same"), [
    ("INV-17_RoadMap.pdf", "INV-300_Login.pdf", True),
    ("20260304_road_map.md", "20261224_chat.md", True),
    ("04.03.2026", "24.12.2026", True),
    ("04.03.2026", "03/04/2026", False),
    ("Dear Anna,", "Hi Anna!", False),
    ("17 kg", "17 KG", False),
])
def test_answers_of_one_form(one: str, other: str, same: bool) -> None:
    assert (form_of(one) == form_of(other)) is same


def test_ends_are_first_and_last_words_of_several() -> None:
    assert ends_of("v_road_map") == ("v", "map")
    assert ends_of("7") == ends_of("") == ()
    assert ends_of("road_map_tbl", "Name the table of the Road map.") == ("", "tbl")  # the rest is the case's own


def test_the_case_and_its_answer_are_no_part_of_the_rule() -> None:
    assert rule_words("No. The date comes first. It should have been `20260304_x.md`.") == "The date comes first."


def test_answers_contradict_agree_or_say_nothing() -> None:
    table, view = with_answer("road_map_tbl"), with_answer("v_road_map")
    assert agreement(table, [with_answer("login_tbl")]) == 0.15
    assert agreement(table, [view]) is None  # of one form, which mere words always are
    assert agreement(table, [with_answer("04.03.2026")]) is None
    assert agreement(table, [with_answer("")]) == agreement(with_answer(""), [table]) == 0.0
    column = with_answer("road_map_ts", "Name the column for the road map time.")
    assert agreement(with_answer("road_map_tbl", "Name the road map table."), [column]) is None  # of one topic
    title = with_answer("Road Map", "A title for the road map, please.")
    assert agreement(title, [with_answer("Login Page", "A title for the login page?")]) == 0.0
    assert link([table], [view]) == APART
    assert link([], [view]) == APART


def test_origins_of_one_rule_are_alike_and_those_of_its_lookalike_are_not() -> None:
    for rule, lookalike in (("us-date", "german-date"), ("table-name", "view-name"), ("minutes-file", "photo-file")):
        mine = cases(rule, 12)
        assert link(cases(rule, 12, seed=2), mine) >= SAME_RULE
        assert link(cases(lookalike, 12), mine) < SAME_RULE
