"""The exact tests, against counting every case and against published values."""

from __future__ import annotations

from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.training.exact import at_most, sign_test


@given(st.integers(0, 9), st.integers(0, 9))
def test_the_sign_test_counts_every_row_of_coins(wins: int, losses: int) -> None:
    n = wins + losses
    rows = list(product((0, 1), repeat=min(n, 12)))
    if n <= 12:
        assert sign_test(wins, losses) == sum(sum(row) >= wins for row in rows) / len(rows)
    assert 0 < sign_test(wins, losses) <= 1
    assert sign_test(wins + 1, losses) <= sign_test(wins, losses) <= sign_test(wins, losses + 1)


@pytest.mark.parametrize(("count", "n", "bound"), [
    (0, 20, 1 - 0.05 ** (1 / 20)), (0, 1, 0.95), (1, 10, 0.3942), (5, 50, 0.1988), (3, 3, 1.0), (0, 0, 1.0),
])
def test_the_upper_bound_is_that_of_clopper_and_pearson(count: int, n: int, bound: float) -> None:
    assert at_most(count, n, 0.05) == pytest.approx(bound, abs=1e-4)
