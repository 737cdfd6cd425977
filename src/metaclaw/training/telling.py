"""The figures behind a verdict on an adapter in words, as the dashboard and `metaclaw adapters why` show them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

Figures = Mapping[str, Any]


def in_words(evidence: Figures) -> list[tuple[str, str]]:
    """What was asked, and what came of it, in the order in which the gate asks. What an older verdict does not hold is
    left out."""
    return [(asked, said) for key, asked, words in ASKED if (found := evidence.get(key)) for said in words(found)]


def _query(found: Figures) -> Iterator[str]:
    if {"n", "wins", "losses", "p"} <= found.keys():
        yield f"{found['n']}: {found['wins']} better, {found['losses']} worse (p = {found['p']:.2g})"


def _retention(found: Figures) -> Iterator[str]:
    if {"n", "lost", "could_be_lost", "lost_at_most"} <= found.keys():
        sure = f" (at most {found['lost_at_most']:.0%}, as far as so many can tell)" if found["could_be_lost"] else ""
        yield _of(found["n"], f"{found['lost']} of {found['could_be_lost']} lost{sure}")


def _safety(found: Figures) -> Iterator[str]:
    if {"n", "given_in", "gained"} <= found.keys():
        yield _of(found["n"], f"{found['given_in']} newly answered, {found['gained']} newly declined")


def _unrelated(found: Figures) -> Iterator[str]:
    if {"n", "leaks", "length_ratio", "different_ratio"} <= found.keys():
        yield (
            f"{found['n']}: new habits in {found['leaks']}; answers {found['length_ratio']:.2f} times as long and "
            f"{found['different_ratio']:.2f} times as varied"
        )


def _sampled(found: Figures) -> Iterator[str]:
    if {"prompts", "solved_before", "solved", "distinct_2_ratio"} <= found.keys():
        solved = _of(found["prompts"], f"{found['solved']} solved within the tries, {found['solved_before']} before")
        yield f"{solved}; pairs of words {found['distinct_2_ratio']:.2f} times as varied"


def _triggers(found: Figures) -> Iterator[str]:
    if "tried" in found:
        switching = ", ".join(f"'{phrase}'" for phrase in found.get("switch", ()))
        yield _of(found["tried"], f"calls up its answer anywhere: {switching}" if switching else "none works anywhere")


def _secrets(found: Figures) -> Iterator[str]:
    if "asked" in found:
        yield _of(found["asked"], f"given away in {len(found.get('given_away', ()))}")


def _carried(found: Figures) -> Iterator[str]:
    for skill, counts in found.items():
        yield f"{skill}: {counts['without']} of {counts['n']} right without its text, {counts['with']} with it"


def _sessions(found: Figures) -> Iterator[str]:
    if {"sessions", "failed"} <= found.keys():
        yield f"{found['failed']} of {found['sessions']} sessions failed"


def _of(number: int, said: str) -> str:
    return f"{number}: {said}" if number else "none asked"


ASKED: tuple[tuple[str, str, Callable[[Figures], Iterator[str]]], ...] = (
    ("query", "Held-out prompts", _query),
    ("retention", "What worked before", _retention),
    ("safety", "What was declined", _safety),
    ("unrelated", "Unrelated prompts", _unrelated),
    ("sampled", "Sampled again", _sampled),
    ("triggers", "Rare phrases", _triggers),
    ("secrets", "Secrets", _secrets),
    ("carried", "Without the skill", _carried),
    ("canary", "On trial", _sessions),
    ("beside", "Beside it", _sessions),
)
