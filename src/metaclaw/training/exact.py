"""The two exact tests that the gate decides by. Pure.

Both are of counts of pairs, so that nothing is assumed of the prompts but that their pairs are independent.
"""

from __future__ import annotations

from math import comb

HALVINGS = 50  # of [0, 1]: far below what a share of prompts can differ by


def sign_test(wins: int, losses: int) -> float:
    """One-sided p of at least `wins` of `wins + losses` fair coin tosses; 1 where nothing differs."""
    n = wins + losses
    return float(sum(comb(n, k) for k in range(wins, n + 1)) / 2**n)


def at_most(count: int, n: int, alpha: float) -> float:
    """The upper end of the share that `count` of `n` may stand for (Clopper and Pearson 1934): the true one is above it
    in at most `alpha` of cases. 1 where nothing was asked.
    """
    if count >= n:
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(HALVINGS):
        share = (low + high) / 2
        fewer = sum(comb(n, k) * share**k * (1 - share) ** (n - k) for k in range(count + 1))
        low, high = (share, high) if fewer > alpha else (low, share)
    return high
