"""What of a request may stand in a skill, where models read it: what asks, and what the right answer was made of. Pure.

In: a request, and the right answer where its user gave one. Out: the request itself where it is one short sentence,
else those of its clauses that ask something, and short statements whose particulars the answer repeats. A request holds
the material that it is about, as often as not without a mark, and no wording tells its sentences from the user's. What
is left out here still finds the skill (`Failure.cue`), which no model reads.
"""

from __future__ import annotations

import re

from metaclaw.evolve.quoting import GAP, asked, tidy, wordings
from metaclaw.evolve.reach import effects, parties
from metaclaw.evolve.scripts import turns_at
from metaclaw.evolve.telling import telling

MOST_WORDS, MOST_CHARACTERS = 25, 160  # of a sentence that is taken as it is; a longer one has to ask
ADDED_WORDS, ADDED_CHARACTERS = 4, 30  # of a clause after a comma that says how; a longer one has to ask
ADDED_UNSPACED = 10  # the second where a script puts no blanks between words
TOLD_WORDS = 16  # of a statement that the answer bears out
NUMBER = re.compile(r"\d[\d.,:]*")
OPENS = re.compile(  # a request that begins so asks for something, also where more follows
    r"(?:hi|hello|hey)?,? ?(?:please|kindly|bitte|por favor|per favore|s'il (?:te|vous) pla[iî]t|proszę|пожалуйста)\b"
    r"|请|帮"
    r"|(?:add|analy[sz]e|answer|build|calculate|change|check|choose|clean|complete|compute|configure|correct|count|create"
    r"|debug|design|draw|edit|estimate|extract|fill|find|fix|generate|help|implement|install|investigate|list|make|move"
    r"|organi[sz]e|pick|plan|prepare|read|refactor|remove|rename|reply|review|rewrite|run|save|select|set|sort|tag|test"
    r"|turn|update|validate)\b",
    re.IGNORECASE,
)
SENTENCE = re.compile(r"(?<=[^\d\s][.!?]) +|(?<=[。！？])")
CLAUSE = re.compile(r"[,;] +|[，；、]")


def example_of(request: str, answer: str = "") -> str:
    """The request with `[...]` in place of all that may be somebody else's."""
    own = asked(request).own
    if (turn := turns_at(own)) is not None:
        own = f"{own[:turn]} {GAP}"
    sentences = [one for one in SENTENCE.split(own) if one.strip()]
    alone = len(sentences) == 1 and GAP not in own and len(own.split()) <= MOST_WORDS and len(own) <= MOST_CHARACTERS
    opens = bool(OPENS.match(own))
    kept = [
        _without_additions(one) if alone or _asks(one) or (opens and not number) else _as_told(one, answer)
        for number, one in enumerate(sentences)
    ]
    return tidy(" ".join(kept))


def _asks(clause: str) -> bool:
    return bool(wordings().asking.search(clause.strip()))


def _as_told(sentence: str, answer: str) -> str:
    """A statement that the right answer bears out, and that asks nothing of anybody; else the gap."""
    told = bool(_particulars(sentence) & _particulars(answer)) and len(sentence.split()) <= TOLD_WORDS
    if not told or wordings().directive.search(sentence) or effects(sentence) or parties(sentence):
        return GAP
    return sentence


def _particulars(text: str) -> frozenset[str]:
    """Its telling words, and its numbers whatever their unit."""
    numbers = (re.sub(r"\D", "", number).strip("0") for number in NUMBER.findall(text))
    return telling(text) | frozenset(number for number in numbers if number)


def _without_additions(sentence: str) -> str:
    """The sentence up to the first clause that neither asks nor is short enough to say how."""
    for comma in CLAUSE.finditer(sentence):
        clause = CLAUSE.split(sentence[comma.end() :])[0]
        if not _adds(clause) and not _asks(clause):
            return f"{sentence[: comma.start()]} {GAP}"
    return sentence


def _adds(clause: str) -> bool:
    most = ADDED_CHARACTERS if clause.isascii() or " " in clause else ADDED_UNSPACED
    return len(clause.split()) <= ADDED_WORDS and len(clause) <= most
