"""The block: inside its budget, the same bytes for the same set, and put where the model reads it."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from metaclaw.context.compose import CLOSING, OPENING, compose, estimate_tokens, inject
from metaclaw.types import Message, Skill
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


def test_injected_at_the_end_of_the_system_or_developer_message() -> None:
    for role in ("system", "developer"):
        messages: list[Message] = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        assert inject(messages, "B") == [{"role": role, "content": "Be brief.\n\nB"}, messages[1]]
        assert messages[0]["content"] == "Be brief."


def test_injected_as_a_system_message_where_there_is_none() -> None:
    messages: list[Message] = [{"role": "user", "content": "Hi"}]
    assert inject(messages, "B") == [{"role": "system", "content": "B"}, *messages]
    assert inject([], "B") == [{"role": "system", "content": "B"}]


def test_list_content_gets_a_part_and_unknown_fields_stay() -> None:
    parts = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    message: Message = {"role": "system", "content": parts, "name": "x"}  # type: ignore[typeddict-unknown-key]
    assert inject([message], "B") == [
        {"role": "system", "content": [*parts, {"type": "text", "text": "B"}], "name": "x"}
    ]
    assert len(parts) == 1
    assert inject([{"role": "system", "content": None}], "B") == [{"role": "system", "content": "B"}]


def test_nothing_to_inject_leaves_the_conversation_alone() -> None:
    messages: list[Message] = [{"role": "user", "content": "Hi"}]
    assert inject(messages, "") == messages
