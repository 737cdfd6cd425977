"""Where a text goes over from one script to another: from there on it is hardly its writer's own. Pure."""

from __future__ import annotations

import re
import unicodedata

LEAD_WORDS = 3  # of the first script; fewer may be a name that begins a sentence in the other one
PASSAGE_WORDS, PASSAGE_LETTERS = 3, 8  # of the other script; fewer are a name. It may put no blanks between words
STAYS = 0.8  # of the letters from there on: who only uses foreign words comes back
UNSPACED = "CJK"
GROUPS = {"HIRAGANA": UNSPACED, "KATAKANA": UNSPACED, "KATAKANA-HIRAGANA": UNSPACED}  # one text is written in all
WORD = re.compile(r"[^\W\d_]+")


def turns_at(text: str) -> int | None:
    """The place of the first word in another script than the text began with; None where there is no such passage."""
    words = [(match.start(), script_of(match[0]), len(match[0])) for match in WORD.finditer(text)]
    first = next((number for number, (_, script, _) in enumerate(words) if script != words[0][1]), 0)
    if first < LEAD_WORDS:
        return None
    start, other, _ = words[first]
    lengths = [length for _, script, length in words[first:] if script == other]
    long_enough = sum(lengths) >= PASSAGE_LETTERS and (other == UNSPACED or len(lengths) >= PASSAGE_WORDS)
    return start if long_enough and sum(lengths) >= STAYS * sum(length for _, _, length in words[first:]) else None


def script_of(word: str) -> str:
    """By the name of its first letter: LATIN, CYRILLIC, CJK, HANGUL."""
    script = unicodedata.name(word[0], "LATIN").partition(" ")[0]
    return GROUPS.get(script, script)
