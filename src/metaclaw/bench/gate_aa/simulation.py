"""The decisions alone: the gate's on answer tables drawn from what a real model answered, the canary's on coins. Pure.

In: for each question, whether a model's sampled answers to it were right. Out: how often the gate lets in a candidate
whose answers are drawn from the very same, and one that truly loses as much as the margin. In: how often sessions fail.
Out: what becomes of a canary, and when.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from metaclaw.serving.trial import Bar, Session, Step, decide, lift_in
from metaclaw.training.gate import MARGIN, Comparison, Pair, admits, better, judge

LOOK_EACH, MOST_SESSIONS = 5, 300
CANARY_SHARE, CANARY_SESSIONS = 0.25, 20  # as the settings have it

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


def canaries_end(
    fails: float, canary_fails: float, n: int, seed: int, *, passes: bool = True
) -> list[tuple[Step, int]]:
    """For each of `n` trials how it ended, and after how many sessions; without `passes`, only harm ends one."""
    source = random.Random(seed)
    bar = Bar(CANARY_SESSIONS if passes else MOST_SESSIONS, float("inf"))
    return [_trial_end(fails, canary_fails, bar, source) for _ in range(n)]


def _trial_end(fails: float, canary_fails: float, bar: Bar, source: random.Random) -> tuple[Step, int]:
    sessions: list[Session] = []
    while len(sessions) < MOST_SESSIONS:
        canary = source.random() < CANARY_SHARE
        sessions.append(Session(str(len(sessions)), canary, source.random() < (canary_fails if canary else fails)))
        if len(sessions) % LOOK_EACH == 0:
            step, _ = decide(lift_in(sessions, CANARY_SHARE), 0.0, bar)
            if step is not Step.GO_ON:
                return step, len(sessions)
    return Step.GO_ON, len(sessions)
