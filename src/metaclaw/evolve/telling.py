"""The words of a text that say something. Pure."""

from __future__ import annotations

import re

from metaclaw.evolve.extractive import STOP_WORDS

SHORTEST, PIECE = 4, 3  # letters of a telling word; characters of a piece where a script has no blanks


def telling(text: str) -> frozenset[str]:
    """The words that say something, without endings; where a script has no blanks, pieces of it."""
    found: set[str] = set()
    for word in re.findall(r"[^\W_]+", text.lower()):
        if not word.isascii() and word[0].lower() == word[0].upper():
            found |= {word[at : at + PIECE] for at in range(max(1, len(word) - PIECE + 1))}
        elif len(word) >= SHORTEST and word not in STOP_WORDS:
            found.add(word.removesuffix("s"))
    return frozenset(found)
