"""May posted words be somebody else's, though nothing in them says so? Pure.

In: a failure with a correction. Out: why, or an empty text. Who posts feedback answers for it, unless it repeats what
the agent had been given to read; says that something of a text was left out, and then goes on, perhaps with that text;
or goes over to another script. Such words are used on trial, as those of a conversation are. What the user puts forward
as the right answer is own, whatever it repeats.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from metaclaw.evolve.failure import Failure
from metaclaw.evolve.parts import ANSWER
from metaclaw.evolve.quoting import GAP, marked, wordings
from metaclaw.evolve.reach import MARKED
from metaclaw.evolve.screen import runs_of
from metaclaw.evolve.scripts import turns_at
from metaclaw.signals.sequel import conversation_of
from metaclaw.signals.tools import results_in

PASSES_ON = "passes on a text"
REPEATS = "repeats what the agent had read"
LEFT_OUT = "says what was left out, and perhaps passes it on"
TURNS = "goes over to another script"
MOST_READ = 100_000  # characters of what the agent had read, the newest: so many take 10 ms
CLAUSE = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|[,;:]\s+|[，；：、]|\s[-–—]\s|\n+")
WORD = r"\w+"
STATEMENT_WORDS, STATEMENT_CHARACTERS = 4, 8  # the second where a script puts no blanks between words


def secondhand(failure: Failure) -> str:
    """Why the words may be somebody else's; empty where nothing speaks for that."""
    if failure.passed_on.foreign:
        return PASSES_ON
    own = failure.words.own
    said = MARKED.sub(" ", ANSWER.sub(" ", own))
    if turns_at(said) is not None:
        return TURNS
    if _goes_on_after_a_complaint(said):
        return LEFT_OUT
    return REPEATS if _repeated(said, given_to_read(failure)) - runs_of(failure.request.own) else ""


def given_to_read(failure: Failure) -> list[str]:
    """What the agent was given that is marked as somebody else's: results of tools, material in the request."""
    found = [*marked(failure.turn.query)]
    found += [result.text for result in reversed(results_in(conversation_of(failure.turn)))]
    left, kept = MOST_READ, list[str]()
    for text in found:
        kept.append(text[: max(0, left)])
        left -= len(text)
    return [text for text in kept if text]


def _goes_on_after_a_complaint(said: str) -> bool:
    """Whether a clause says that something was left out, after a statement that it points back to or before one."""
    clauses = [clause for clause in CLAUSE.split(said.replace(GAP, " ")) if clause.strip()]
    found = [number for number, clause in enumerate(clauses) if _complains(clause)]
    if not found:
        return False
    stated = [number for number, clause in enumerate(clauses) if number not in found and _states(clause)]
    back = [number for number in found if wordings().points_back.search(clauses[number])]
    return any(number > found[0] for number in stated) or any(number < max(back, default=0) for number in stated)


def _complains(clause: str) -> bool:
    return bool(wordings().left_out.search(clause) and wordings().part.search(clause))


def _states(clause: str) -> bool:
    unspaced = sum(not letter.isascii() and letter.lower() == letter.upper() for letter in clause)
    return len(clause.split()) >= STATEMENT_WORDS or unspaced >= STATEMENT_CHARACTERS


def _repeated(said: str, texts: Sequence[str]) -> frozenset[tuple[str, ...]]:
    """The runs of words in what was said that stand in one of the texts."""
    plain = "\n".join(f" {' '.join(re.findall(WORD, text.lower()))} " for text in texts)
    return frozenset(run for run in runs_of(said) if (f" {' '.join(run)} " if len(run) > 1 else run[0]) in plain)
