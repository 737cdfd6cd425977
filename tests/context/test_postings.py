"""The inverted index scores as BM25 does, and joins without reading the texts again."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.context.postings import K1, USUAL_WORDS, B, Postings, joined
from metaclaw.context.text import words

WORDS = ["tide", "rope", "bell", "sand", "felt", "cork"]
TEXTS = st.lists(st.lists(st.sampled_from(WORDS), max_size=8).map(" ".join), max_size=8)
QUERY = dict(zip(WORDS, (1.0, 0.9, 0.7, 0.5, 0.3, 0.1), strict=True))


def by_hand(text: str) -> float:
    counts, length = Counter(words(text)), len(words(text))
    norm = K1 * (1 - B + B * length / USUAL_WORDS)
    return sum(rarity * counts[w] * (K1 + 1) / (counts[w] + norm) for w, rarity in QUERY.items() if counts[w])


@given(TEXTS)
def test_scores_are_bm25(texts: list[str]) -> None:
    found = Postings.of(texts)
    assert found.scores(QUERY) == pytest.approx([by_hand(text) for text in texts], rel=1e-4)
    assert [found.holders(word) for word in WORDS] == [sum(word in words(t) for t in texts) for word in WORDS]


@given(TEXTS, TEXTS, st.data())
def test_joined_parts_score_as_if_they_had_been_one(first: list[str], second: list[str], data: st.DataObject) -> None:
    kept = [data.draw(st.lists(st.integers(0, len(part) - 1), unique=True)) if part else [] for part in (first, second)]
    moves, done = [], 0
    for part, rows in zip((first, second), kept, strict=True):
        moved = np.full(len(part), -1, dtype=np.int64)
        moved[rows] = range(done, done + len(rows))
        moves.append((Postings.of(part), moved))
        done += len(rows)
    texts = [part[row] for part, rows in zip((first, second), kept, strict=True) for row in rows]
    assert joined(moves, done).scores(QUERY) == pytest.approx(Postings.of(texts).scores(QUERY), rel=1e-5)


def test_a_word_that_nobody_holds_counts_nothing() -> None:
    assert Postings.of(["tide", "rope"]).scores({"zeppelin": 1.0, "tide": 0.5}).tolist()[1] == 0
    assert Postings.of([]).scores(QUERY).tolist() == []


def test_of_very_many_postings_the_rarest_words_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("metaclaw.context.postings.MOST_POSTINGS", 3)
    found = Postings.of(["tide rope", "rope", "rope bell", "rope"])
    scores = found.scores({"rope": 1.0, "tide": 1.0, "bell": 1.0})
    assert scores[0] > 0
    assert scores[2] > 0
    assert scores[1] == scores[3] == 0
    assert found.scores({"rope": 1.0})[1] > 0  # one word is always read
