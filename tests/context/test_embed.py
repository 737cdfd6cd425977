"""The static embedder: word by word it reads the same tokens as at once."""

from __future__ import annotations

from functools import cache

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from metaclaw.context.embed import StaticEmbedder

embedder = cache(StaticEmbedder)
PROSE = st.lists(
    st.sampled_from("Write the minutes, please. café 2026-03-04 (ticket 17) 日報 e.g. `x_y` don't — ▁ \n\t".split(" "))
    | st.text(max_size=12), max_size=20,
).map(" ".join)


@given(PROSE | st.text(max_size=80))
@example("a  b")
@example(" a")
@example("a ")
@example("▁a ▁▁b")
@example("")
def test_word_by_word_gives_the_same_tokens_as_at_once(text: str) -> None:
    at_once = embedder()._tokenizer.encode(text, add_special_tokens=False).ids
    for _ in range(2):  # the second time from memory
        assert embedder().tokens(text) == at_once


def test_a_text_is_a_unit_vector_and_an_empty_one_is_zero() -> None:
    found = embedder().embed(["Write the minutes.", ""])
    assert np.linalg.norm(found, axis=1).round(5).tolist() == [1, 0]
