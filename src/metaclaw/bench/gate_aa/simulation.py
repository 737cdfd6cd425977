"""The gate's decision alone, on thousands of answer tables drawn from what a real model answered. Pure.

In: for each question, whether a model's sampled answers to it were right. Out: how often the gate lets in a candidate
whose answers are drawn from the very same, and one that truly loses as much as the margin.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from metaclaw.training.gate import MARGIN, Comparison, Pair, admits, better, judge

Table = Sequence[Sequence[bool]]  # by question, then by try


def equals_let_in(table: Table, questions: int, n: int, seed: int) -> list[bool]:
    """For each of `n` candidates, whether it was let in; it and the incumbent draw from one table."""
    source = random.Random(seed)
    let_in = []
    for _ in range(n):
        asked = source.choices(table, k=questions)
        let_in.append(better([Pair("", "", "", source.choice(one), source.choice(one)) for one in asked]))
    return let_in


def forgetful_let_in(retention: int, n: int, seed: int) -> list[bool]:
    """For each of `n` candidates that answer the query rightly, and lose `MARGIN` of what worked, whether it was."""
    source = random.Random(seed)
    won = [Pair("", "", "", False, True)] * 8
    let_in = []
    for _ in range(n):
        kept = [Pair("", "", "", True, source.random() >= MARGIN) for _ in range(retention)]
        let_in.append(admits(judge("candidate", "base", Comparison(won, kept))))
    return let_in
