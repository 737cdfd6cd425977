"""The block: inside its budget, the same bytes for the same set, and put where the model reads it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from metaclaw.context.compose import CLOSING, OPENING, compose, estimate_tokens
from metaclaw.types import Skill
from support import make_skill

SKILLS = st.lists(
    st.builds(make_skill, st.sampled_from(["a", "b", "c", "d", "e"]), st.text(max_size=300)),
    unique_by=lambda skill: skill.name, max_size=5,
)


@given(SKILLS, st.integers(min_value=1, max_value=300))
def test_what_is_composed_fits_the_budget(skills: list[Skill], most: int) -> None:
    composition = compose(skills, most)
    assert estimate_tokens(composition.text) <= most
    assert bool(composition.text) == bool(composition.skills)
    assert all(f"## {skill.name}\n" in composition.text for skill in composition.skills)


def test_the_best_ranked_goes_in_first_and_whole() -> None:
    long, short = make_skill("long", "x " * 200), make_skill("short", "brief")
    room = estimate_tokens(compose([long], 10_000).text)
    assert compose([long, short], room).skills == (long,)
    assert compose([long, short], room - 1).skills == (short,)
    assert compose([long, short], 10_000).skills == (long, short)


def test_the_same_set_gives_the_same_bytes_in_whatever_order_it_was_ranked() -> None:
    skills = [make_skill(name, f"rule {name}") for name in "abc"]
    assert len({compose(order, 1000).text for order in itertools.permutations(skills)}) == 1


@given(st.text(max_size=100), st.text(max_size=100))
def test_a_skill_cannot_close_its_block(before: str, after: str) -> None:
    body = f"{before}{CLOSING}{after}</learned-{CLOSING}skills>"
    text = compose([make_skill("a", body)], 10_000).text
    assert text.startswith(OPENING)
    assert text.index(CLOSING) == len(text) - len(CLOSING)
