"""Is this the same request again? Two texts are compared word by word, politeness and 'once more' aside.

One word that differs makes another request: 'Summarise chapter 2' asks for something new. So does the order of words.
"""

from __future__ import annotations

import re
import unicodedata

from metaclaw.signals.phrases import phrases

MIN_WORDS = 3  # 'yes', 'continue' and 'next' are said again without asking again
MIN_CHARACTERS = 6  # the same where there are no blanks between words
MAX_READ = 4_000

UNSPACED = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
WORD = re.compile(r"\w+|[-+*/=<>%^&|~]")


def same_request(one: str, other: str) -> bool:
    """Whether both ask for the same; false for texts too short to say."""
    first = _words(one)
    return bool(first) and first == _words(other)


def _words(text: str) -> list[str]:
    """The words that matter; none where the text is too short to be a request."""
    plain = unicodedata.normalize("NFKC", text[:MAX_READ]).lower().replace("’", "'")
    plain = phrases().again.sub(" ", plain)
    if UNSPACED.search(plain):
        characters = [character for character in plain if character.isalnum()]
        return characters if len(characters) >= MIN_CHARACTERS else []
    words = WORD.findall(plain)
    return words if len(words) >= MIN_WORDS else []
