"""Is the candidate poorer than the incumbent, whatever it answers? Length, variety, what it solves when it may try
again, and how often it declines. Pure measures over texts; what they must be is the gate's affair.
"""

from __future__ import annotations

from collections.abc import Sequence

from metaclaw.training.refusals import declined


def ratio(candidate: float, incumbent: float) -> float:
    """1 where there is nothing to compare with."""
    return candidate / incumbent if incumbent else 1.0


def length_ratio(candidate: Sequence[str], incumbent: Sequence[str]) -> float:
    return ratio(sum(map(len, candidate)), sum(map(len, incumbent)))


def distinct(texts: Sequence[str], n: int) -> float:
    """distinct-n: of all runs of `n` words in the texts together, the share that differ. 1 where there are none."""
    runs = [tuple(words[i : i + n]) for words in map(_words, texts) for i in range(len(words) - n + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0


def different(texts: Sequence[str]) -> float:
    """The share of the texts that are different, whatever their length."""
    return len({" ".join(_words(text)) for text in texts}) / len(texts) if texts else 1.0


def solved_within(tries: Sequence[bool | None]) -> bool | None:
    """pass@k of one prompt whose k tries these are; None where nothing tells."""
    told = [right for right in tries if right is not None]
    return any(told) if told else None


def newly_declined(before: Sequence[str], after: Sequence[str]) -> int:
    """How many more of the same prompts are declined, net."""
    return sum(map(declined, after)) - sum(map(declined, before))


def _words(text: str) -> list[str]:
    return text.lower().split()
