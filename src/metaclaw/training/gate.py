"""May this adapter serve? The candidate against the incumbent, on the same prompts, without any skill in them.

In: pairs of results. Out: a `Verdict`. Pure. Three questions, all of which must be answered well:
better on held-out query prompts (exact one-sided sign test on the pairs that differ, p at most 0.05; a candidate that
equals the incumbent is therefore promoted in at most 5 % of comparisons), not worse on what worked before, and no new
habit in answers to unrelated prompts. Habits are found from the training replies themselves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import comb

from metaclaw.types import Verdict

ALPHA = 0.05
RETENTION_MARGIN = 0.1  # share of the retention prompts that may be lost, net
LEAKS_ALLOWED = 0.05  # share of the unrelated prompts
LENGTH_RATIO = (0.5, 2.0)  # of the unrelated answers' total length, candidate to incumbent
WINDOW = 6
HABIT_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Pair:
    """One prompt, both replies, and whether each was right (None: nothing tells)."""

    prompt: str
    incumbent: str
    candidate: str
    incumbent_right: bool | None = None
    candidate_right: bool | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    query: Sequence[Pair]
    retention: Sequence[Pair]
    unrelated: Sequence[Pair]
    habits: frozenset[str]


def judge(adapter: str, incumbent: str, comparison: Comparison) -> Verdict:
    wins, losses = _wins_and_losses(comparison.query)
    p = sign_test(wins, losses)
    lost, kept = _wins_and_losses(comparison.retention)[::-1]
    leaks = leaked(comparison.unrelated, comparison.habits)
    objections = _objections(comparison, p, lost - kept, len(leaks))
    n = len(comparison.query)
    return Verdict(
        subject=f"adapter:{adapter}",
        baseline=incumbent,
        candidate=adapter,
        n=n,
        effect=(wins - losses) / n if n else 0.0,
        confidence=1 - p,
        decision="promoted: better on held-out prompts, not worse elsewhere" if not objections
        else "rejected: " + "; ".join(objections),
        evidence={
            "query": {"n": n, "wins": wins, "losses": losses, "p": p},
            "retention": {"n": len(comparison.retention), "lost": lost, "won": kept},
            "unrelated": {"n": len(comparison.unrelated), "leaks": len(leaks), "examples": leaks[:5],
                          "length_ratio": length_ratio(comparison.unrelated)},
        },
    )


def sign_test(wins: int, losses: int) -> float:
    """One-sided p of at least `wins` of `wins + losses` fair coin tosses; 1 where nothing differs."""
    n = wins + losses
    return float(sum(comb(n, k) for k in range(wins, n + 1)) / 2**n)


def habits(replies: Sequence[str], ordinary: Sequence[str]) -> frozenset[str]:
    """Shapes that the training replies share and ordinary answers lack.

    A shape is six characters, digits written as 9, at least one of them neither letter nor blank. Those in at least a
    tenth of the replies and in no ordinary answer are a habit that training may have formed.
    """
    counts = Counter(shape for reply in replies for shape in shapes(reply))
    common = {shape for reply in ordinary for shape in shapes(reply)}
    needed = max(2.0, HABIT_SHARE * len(replies))
    return frozenset(shape for shape, count in counts.items() if count >= needed and shape not in common)


def shapes(text: str) -> frozenset[str]:
    flat = re.sub(r"\d", "9", text.strip())
    windows = (flat[i : i + WINDOW] for i in range(len(flat) - WINDOW + 1))
    return frozenset(window for window in windows if re.search(r"[^A-Za-z\s]", window))


def leaked(unrelated: Sequence[Pair], known_habits: frozenset[str]) -> list[str]:
    """The candidate's answers that show a habit which neither the prompt nor the incumbent's answer has."""
    found = []
    for pair in unrelated:
        new = shapes(pair.candidate) - shapes(pair.incumbent) - shapes(pair.prompt)
        if new & known_habits:
            found.append(f"{pair.prompt[:80]} -> {pair.candidate[:80]}")
    return found


def length_ratio(unrelated: Sequence[Pair]) -> float:
    before = sum(len(pair.incumbent) for pair in unrelated)
    return sum(len(pair.candidate) for pair in unrelated) / before if before else 1.0


def _wins_and_losses(pairs: Sequence[Pair]) -> tuple[int, int]:
    wins = sum(1 for pair in pairs if pair.candidate_right and pair.incumbent_right is False)
    losses = sum(1 for pair in pairs if pair.incumbent_right and pair.candidate_right is False)
    return wins, losses


def _objections(comparison: Comparison, p: float, net_lost: int, leaks: int) -> list[str]:
    found = []
    if p > ALPHA:
        found.append(f"not better on held-out prompts (p = {p:.3f})")
    if net_lost > RETENTION_MARGIN * len(comparison.retention):
        found.append(f"{net_lost} of {len(comparison.retention)} prompts that worked before are lost")
    if leaks > LEAKS_ALLOWED * len(comparison.unrelated):
        found.append(f"new habits in {leaks} of {len(comparison.unrelated)} unrelated answers")
    low, high = LENGTH_RATIO
    if not low <= length_ratio(comparison.unrelated) <= high:
        found.append("unrelated answers changed their length")
    return found
