"""House rules, family by family: what is theirs, what breaks them, and what is said about it."""

from __future__ import annotations

import json
import random
import re
from datetime import date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.bench.workdays.documents import Delivery, Document, Edit, Format, complete, delivered, value_of
from metaclaw.bench.workdays.facts import KINDS, Field, Person, draw_field
from metaclaw.bench.workdays.rules import FAMILIES, Rule, draw_rule, formats_of, other_rule
from metaclaw.bench.workdays.shapes import SHAPE_FAMILIES
from metaclaw.bench.workdays.values import VALUE_FAMILIES
from metaclaw.bench.workdays.writing import write

DAY = date(2026, 3, 16)
BEFORE = {"plans/move01.txt": "The move\nVenue: north hall\n"}
EDIT = Edit("plans/move01.txt", "Venue: north hall", "Venue: canteen")
FORMATS: tuple[Format, ...] = ("json", "md", "csv")


def document_for(family: str, form: str, rng: random.Random) -> Document:
    if form == "edit":
        return Document("plan", "move plan", "txt", DAY, 4711, edit=EDIT)
    kinds = [VALUE_FAMILIES[family][0]] if family in VALUE_FAMILIES else ["money"]
    fields = tuple(draw_field(rng, DAY, kind) for kind in kinds)
    items = (("willow", 40), ("cedar", 70), ("tangerine", 55))
    written = next(known for known in FORMATS if known == form)
    return Document("incident report", "mail delay", written, DAY, 4711, fields, items)


def cases() -> list[tuple[str, str]]:
    return [(family, form) for family in FAMILIES for form in sorted(formats_of(family))]


def got(document: Document, rules: dict[str, Rule]) -> Delivery:
    found = delivered(document, BEFORE, BEFORE | write(document, rules, BEFORE))
    assert found
    return found


@pytest.mark.parametrize(("family", "form"), cases())
@given(seed=st.integers(0, 10_000))
def test_who_keeps_to_a_rule_passes_it_and_a_stranger_does_not(family: str, form: str, seed: int) -> None:
    rng = random.Random(seed)
    rule = draw_rule(rng, family)
    document = document_for(family, form, rng)
    assert rule.holds(document, got(document, {family: rule}))
    assert not rule.holds(document, got(document, {}))


@pytest.mark.parametrize(("family", "form"), cases())
@given(seed=st.integers(0, 10_000))
def test_another_house_fails_unless_it_would_write_the_same(family: str, form: str, seed: int) -> None:
    rng = random.Random(seed)
    rule = draw_rule(rng, family)
    other = other_rule(rng, rule)
    document = document_for(family, form, rng)
    theirs = got(document, {family: other})
    same = write(document, {family: other}, BEFORE) == write(document, {family: rule}, BEFORE)
    assert rule.holds(document, theirs) == same


@pytest.mark.parametrize(("family", "form"), cases())
@given(seed=st.integers(0, 10_000))
def test_the_check_of_a_single_shot_reply_agrees_with_the_checker(family: str, form: str, seed: int) -> None:
    rng = random.Random(seed)
    rule = draw_rule(rng, family)
    document = document_for(family, form, rng)
    for rules, keeps in (({family: rule}, True), ({}, False)):
        files = [{"filename": p, "content": text} for p, text in write(document, rules, BEFORE).items()]
        reply = json.dumps({**files[0], "more": files[1:]}, ensure_ascii=False)
        matched = re.fullmatch(f"(?s){rule.pattern(document)}.*", reply) is not None
        assert matched >= keeps  # it may be kinder than the checker, never harsher


@pytest.mark.parametrize("family", ["metadata", "worklog", "backup"])
def test_a_revoked_rule_asks_for_its_absence(family: str) -> None:
    rng = random.Random(3)
    rule = draw_rule(rng, family)
    revoked = Rule(family, rule.form, revoked=True)
    document = document_for(family, sorted(SHAPE_FAMILIES[family][0])[0], rng)
    assert revoked.holds(document, got(document, {}))
    assert not revoked.holds(document, got(document, {family: rule}))
    assert revoked.pattern(document) == ""
    assert "no longer" in revoked.correction(document)


def test_corrections_tell_the_rule_and_what_would_have_been_right() -> None:
    rng = random.Random(1)
    for family in FAMILIES:
        rule = draw_rule(rng, family)
        document = document_for(family, sorted(formats_of(family))[0], rng)
        said = rule.correction(document)
        assert rule.says in said
        assert rule.show(document) in said


@pytest.mark.parametrize(
    ("family", "value", "forms"),
    [
        ("stamp", datetime(2026, 3, 16, 9, 30), {"2026-03-16T09:30:00+08:00", "16.03.2026/09:30-03:00"}),  # noqa: DTZ001
        ("zone", 9 * 60 + 5, {"12:05 EAT", "03h05 CST", "06.05 BRT"}),
        ("day", DAY, {"16.III.2026", "2026-W12-1", "2026/075"}),
        ("money", 123_405, {"123405ct", "EUR 1234.05", "1234,05 €", "1234E05", "1234.05(EUR)"}),
        ("duration", 105, {"105min", "1.75h", "PT1H45M", "q7", "1'45"}),
        ("rounding", 45_678, {"46%", "45%", "45.7%", "45.6 pct"}),
        ("grouping", 54_321, {"54'321", "54_321", "54k321"}),
        ("person", Person("Anna", "Holm"), {"HOLM, Anna", "@anna.holm", "A. Holm", "holm_a", "Anna-H"}),
        ("ticket", 87, {"WD-00087", "OPS#00087", "TK/00087"}),
        ("units", 2500, {"2500m", "25000 dm", "2500000mm"}),
        ("slot", (845, 870), {"1405-1430", "14h05/14h30", "14:05+25", "[14.05..14.30]", "25@14:05"}),
    ],
)
def test_values_are_written_as_their_rule_says(family: str, value: object, forms: set[str]) -> None:
    drawn = {VALUE_FAMILIES[family][1](random.Random(seed)).show(value) for seed in range(400)}
    assert forms <= drawn


@pytest.mark.parametrize(
    ("form", "text", "found"),
    [
        ("json", '{"Task_Owner": "Anna", "entries": []}', "Anna"),
        ("json", '{"facts": {"taskOwner": 12}}', "12"),
        ("json", "no json", None),
        ("json", '{"a": ' + "[" * 900 + '{"task owner": 1}' + "]" * 900 + "}", None),
        ("json", "[" * 100_000, None),
        ("md", "- **Task owner:** Anna Holm", "Anna Holm"),
        ("md", "task owner: @anna", "@anna"),
        ("md", "task owner: **", "**"),
        ("md", "| task owner | anna |", "anna"),
        ("csv", "name;value\ntask owner;A. Holm", "A. Holm"),
        ("csv", '"task owner","HOLM, Anna"', "HOLM, Anna"),
    ],
)
def test_a_fact_is_found_whatever_the_layout(form: str, text: str, found: str | None) -> None:
    assert value_of(next(known for known in FORMATS if known == form), text, "task owner") == found


def test_an_edit_must_leave_the_rest_alone() -> None:
    document = Document("plan", "move plan", "txt", DAY, 1, edit=EDIT)
    path = EDIT.path
    for text, whole in (("The move\nVenue: canteen\n", True), ("Venue: canteen\n", False)):
        found = delivered(document, BEFORE, {path: text})
        assert found
        assert complete(document, found) == whole
    assert delivered(document, BEFORE, BEFORE) is None
    assert delivered(document, BEFORE, {}) is None
    assert delivered(document, {}, {}) is None
    assert delivered(document, {}, {path: "The move\nVenue: canteen\n"}) is None


def test_a_document_without_one_of_its_facts_is_not_complete() -> None:
    fields = (Field("task owner", "person", Person("Anna", "Holm")), Field("due day", "day", DAY))
    document = Document("report", "mail delay", "json", DAY, 1, fields, (("cedar", 1),))
    whole = '{"task owner": "x", "due day": "y", "entries": ["cedar"]}'
    lacking = ('{"task owner": "x", "entries": ["cedar"]}', '{"task owner": "x", "due day": "y"}')
    for text, expected in ((whole, True), *((text, False) for text in lacking)):
        assert complete(document, Delivery("a.json", text, {}, {"a.json": text})) == expected
    found = delivered(document, {}, {"a.json": lacking[0], "b.json": whole, "c.md": whole})
    assert found
    assert found.path == "b.json"


def test_plain_wording_never_is_a_form_of_any_house() -> None:
    rng = random.Random(5)
    for family, (kind, draw) in VALUE_FAMILIES.items():
        for _ in range(200):
            value = KINDS[kind].draw(rng, DAY)
            assert draw(rng).show(value) != KINDS[kind].plain(value), family
