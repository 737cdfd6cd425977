"""Code skills as offers: their names, what they cost of the budget, and which cannot be offered."""

from __future__ import annotations

import dataclasses
import itertools
import logging

import pytest

from metaclaw.context.compose import compose, estimate_tokens
from metaclaw.context.offers import MAX_NAME, offer_of, own_name
from metaclaw.errors import SkillError
from metaclaw.types import Skill
from support import make_skill
from tool_upstream import code_skill


def code(name: str) -> Skill:
    return dataclasses.replace(code_skill(name=name), version=3)


def test_an_offer_is_named_apart_and_reads_calls() -> None:
    offer = offer_of(code("add-up"))
    assert offer
    assert (offer.name, offer.ref, offer.tool.entry) == ("metaclaw_add_up", "add-up@3", "add_up")
    assert offer.description.startswith("Add up whole amounts.")
    assert offer.parameters["required"] == ["amounts"]
    assert offer.arguments('{"amounts": ["7"]}') == {"amounts": [7]}
    with pytest.raises(SkillError, match="'amounts' is missing"):
        offer.arguments("{}")
    assert (offer.told("as it is"), offer.told({"é": [1]})) == ("as it is", '{"é": [1]}')


def test_names_are_short_and_differ() -> None:
    names = [own_name("x" * 60), own_name("x" * 59 + "y"), own_name("a.b c")]
    assert len(set(names)) == 3
    assert all(len(name) <= MAX_NAME for name in names)
    assert names[2] == "metaclaw_a_b_c"


def test_what_is_no_tool_is_not_offered(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        broken = dataclasses.replace(code("broken"), files=(("scripts/broken.py", "def f(:"),))
        composition = compose([broken, code("add-up")], 10_000)
    assert [offer.ref for offer in composition.tools] == ["add-up@3"]
    assert "not offered" in caplog.text


def test_the_order_is_that_of_names_whatever_the_ranks() -> None:
    ranked = [code("c"), make_skill("b"), code("a"), make_skill("d")]
    compositions = [compose(order, 10_000) for order in itertools.permutations(ranked)]
    refs = {tuple(offer.ref for offer in composition.tools) for composition in compositions}
    assert refs == {("a@3", "c@3")}
    (text,) = {composition.text for composition in compositions}
    assert text == compose([make_skill("b"), make_skill("d")], 10_000).text


def test_text_and_tools_share_one_budget_by_rank() -> None:
    text, tool = make_skill("b"), code("a")
    offer = offer_of(tool)
    assert offer
    cost = estimate_tokens("x" * offer.characters)
    room = cost + estimate_tokens(compose([text], 10_000).text)
    assert (compose([tool, text], room).skills, len(compose([tool, text], room).tools)) == ((text,), 1)
    assert (compose([tool, text], room - 1).skills, len(compose([tool, text], room - 1).tools)) == ((), 1)
    assert (compose([text, tool], room - 1).skills, compose([text, tool], room - 1).tools) == ((text,), ())
    assert compose([tool], cost).text == ""
