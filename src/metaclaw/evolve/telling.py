"""The words of a text that say something. Pure."""

from __future__ import annotations

import re

SHORTEST, PIECE = 4, 3  # letters of a telling word; characters of a piece where a script has no blanks
STOP_WORDS = frozenset(
    "a about above after again all also am an and any are as at be been before but by can could did do does done for "
    "from get give had has have how i if in into is it its just like make me my no not of on once one only or our out "
    "over please put right said same say should so some suggest tell than that the their them then there these they "
    "this those to too two under up us use very want was we were what when where which while who why will with would "
    "write wrong you your new between always never starts ends begin begins exactly says save".split()
)


def telling(text: str) -> frozenset[str]:
    """The words that say something, without endings; where a script has no blanks, pieces of it."""
    found: set[str] = set()
    for word in re.findall(r"[^\W_]+", text.lower()):
        if not word.isascii() and word[0].lower() == word[0].upper():
            found |= {word[at : at + PIECE] for at in range(max(1, len(word) - PIECE + 1))}
        elif len(word) >= SHORTEST and word not in STOP_WORDS:
            found.add(word.removesuffix("s"))
    return frozenset(found)
