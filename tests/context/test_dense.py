"""Vectors as signs and bytes: cosines nearly as they were, estimates in the same order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.context.dense import Dense, Vectors, unit

DIMENSIONS = st.sampled_from([8, 64, 100, 256, 384])


def some(rows: int, dimensions: int, seed: int) -> Vectors:
    return unit(np.random.default_rng(seed).standard_normal((rows, dimensions)).astype(np.float32))


@given(DIMENSIONS, st.integers(0, 10_000))
def test_cosines_are_off_by_less_than_a_hundredth(dimensions: int, seed: int) -> None:
    vectors, asked = some(30, dimensions, seed), some(3, dimensions, seed + 1)
    rows = np.array([4, 0, 29])
    assert Dense.of(vectors).cosines(rows, asked) == pytest.approx(asked @ vectors[rows].T, abs=0.012)
    assert Dense.of(vectors).vectors(rows) == pytest.approx(vectors[rows], abs=0.006)


@given(DIMENSIONS, st.integers(0, 10_000))
def test_the_estimate_knows_the_same_the_opposite_and_the_near(dimensions: int, seed: int) -> None:
    vector = some(1, dimensions, seed)[0]
    noise = some(1, dimensions, seed + 1)[0]
    near = unit((vector + 0.2 * noise)[None])[0]
    same, opposite, close = Dense.of(np.stack([vector, -vector, near])).estimates(vector, 1000).tolist()
    assert same == 1000
    assert opposite == 0
    assert 0 < close <= 1000


def test_the_right_row_of_many_is_among_the_best_estimates() -> None:
    vectors = some(5_000, 256, 1)
    asked = unit(vectors[:50] + 1.5 * some(50, 256, 2))  # a cosine of about 0.55
    dense = Dense.of(vectors)
    for row, one in enumerate(asked):
        estimates = dense.estimates(one, 60_000)
        assert (estimates > estimates[row]).sum() < 250


def test_zeros_and_no_rows_are_no_trouble() -> None:
    dense = Dense.of(np.zeros((2, 256), dtype=np.float32))
    assert dense.cosines(np.array([0, 1]), some(1, 256, 1)).tolist() == [[0.0, 0.0]]
    empty = Dense.of(np.zeros((0, 256), dtype=np.float32))
    assert empty.estimates(some(1, 256, 1)[0], 1000).tolist() == []


def test_joining_and_taking_keep_the_rows() -> None:
    one, two = some(5, 100, 1), some(4, 100, 2)
    both = Dense.joined([Dense.of(one), Dense.of(two)]).taken(np.array([8, 0]))
    assert both.vectors(np.arange(2)) == pytest.approx(np.stack([two[3], one[0]]), abs=0.006)
    assert both.estimates(two[3], 1000)[0] == 1000
