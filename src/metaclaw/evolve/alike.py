"""Do two skills teach the same rule? Told by the failures that they were written from. Pure.

In: cases, each a request, what the user said of the reply, and the right answer if it was written down. Out: how alike
two groups of cases are. One pair of texts tells little: people word one rule in many ways, and two rules that
contradict each other in nearly the same words. But most cases of a rule have a near one among the others, right answers
of one rule have one form, and what a rule is for stands in its requests and in its words alike: 'British' in one group,
'American' in the other. Thresholds: see `evolve.curate`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metaclaw.evolve.extractive import LEAD_IN
from metaclaw.evolve.failure import ANNOUNCED
from metaclaw.evolve.parts import same_template
from metaclaw.evolve.telling import telling

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]

MOST_REQUEST = 160  # characters: a longer request is about much else, and would drown the rule that was said of it
SHARED_END = 0.15  # what it adds when right answers of one form also begin or end with the same word
APART = -1.0  # of cases whose right answers contradict each other
MARKED = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)
LEFT_OVER = re.compile(rf"(?:it )?{ANNOUNCED}\W*$", re.IGNORECASE)  # what announced the answer
DIGITS = re.compile(r"\d+")
LETTERS = re.compile(r"[^\W\d_]+")
REPEATED = re.compile(r"(a|A)(?:([-_ ])\1)+")
JUST_WORDS = re.compile(r"(?:a|A|Aa)(?:[-_ ](?:a|A|Aa))?")
TELLING_LENGTHS = (4, 6, 8)  # of numbers: years and dates


@dataclass(frozen=True, slots=True)
class Origin:
    """`form` is the right answer's, empty where it is not known; `ends` are its first and last word.

    An end is empty where it is a word of the request, which is the case's own and not the rule's. `words` are the
    request's telling ones, `scope` those of them that the rule's words have too.
    """

    turn_id: str
    request: str
    asked: Vectors  # the request alone
    vector: Vectors  # of the rule's words, with a short request
    rule: str  # these words
    form: str
    ends: tuple[str, ...]
    words: frozenset[str] = frozenset()
    scope: frozenset[str] = frozenset()


def origins_of(told: Sequence[tuple[str, str, str, str]], embed: Embed) -> list[Origin]:
    """From (turn id, request, the user's words, right answer)."""
    if not told:
        return []
    rules = [rule_words(words) for _, _, words, _ in told]
    short = [request if len(request) <= MOST_REQUEST else "" for _, request, _, _ in told]
    vectors = embed([f"{rule} {request}".strip() for rule, request in zip(rules, short, strict=True)])
    asked = embed([request for _, request, _, _ in told])
    return [
        Origin(
            turn_id, request, of_request, vector, rule, form_of(answer), ends_of(answer, request),
            asked_for := telling(request), asked_for & telling(rule),
        )
        for (turn_id, request, _, answer), rule, of_request, vector in zip(told, rules, asked, vectors, strict=True)
    ]


def rule_words(correction: str) -> str:
    """The rule without the 'No', and without the case's own answer."""
    return LEFT_OVER.sub("", MARKED.sub(" ", LEAD_IN.sub("", correction.strip(), count=1)).strip(" .")).strip()


def form_of(answer: str) -> str:
    """An answer with its words and numbers made alike: 'INV-17_RoadMap.pdf' and 'INV-3_Login.pdf' have one form."""
    text = DIGITS.sub(lambda run: "9" * (len(run[0]) if len(run[0]) in TELLING_LENGTHS else 1), answer)
    text = LETTERS.sub(lambda run: "a" if run[0].islower() else "A" if run[0].isupper() else "Aa", text)
    return REPEATED.sub(r"\1", text)


def ends_of(answer: str, request: str = "") -> tuple[str, ...]:
    """The first and the last word, of an answer of several; empty in place of one that the request has."""
    words, asked = re.findall(r"[^\W_]+", answer), {word.lower() for word in re.findall(r"[^\W_]+", request)}
    ends = (words[0], words[-1]) if len(words) > 1 else ()
    return tuple("" if end.lower() in asked else end for end in ends)


def likeness(one: Origin, others: Sequence[Origin], vectors: Vectors) -> float:
    """How near the nearest of the others is, of those that are for the same. `vectors` are the others'."""
    agreed = agreement(one, others)
    comparable = [row for row, other in enumerate(others)
                  if not in_contrast(one, other) and not same_template(one.rule, other.rule)]
    if agreed is None or not comparable:
        return APART
    return float((vectors[comparable] @ one.vector).max()) + agreed


def in_contrast(one: Origin, other: Origin) -> bool:
    """Whether each is for something that the other was not asked for.

    Measured on the tuning half of the bench, pairs with a cosine above 0.6: of two rules 35 of 41, of one 78 of 3,140.
    """
    return bool(one.scope - other.words) and bool(other.scope - one.words)


def agreement(one: Origin, others: Sequence[Origin]) -> float | None:
    """What the right answers say: None where they contradict each other, 0 where they say nothing."""
    known = [other for other in others if other.form]
    if not one.form or not known:
        return 0.0
    fitting = [other for other in known if other.form == one.form]
    if not fitting:
        return None
    ends = [pair for other in fitting for pair in zip(one.ends, other.ends, strict=False) if all(pair)]
    if any(mine == theirs for mine, theirs in ends):
        return SHARED_END
    if ends and JUST_WORDS.fullmatch(one.form):  # such as names with different prefixes: the form says nothing
        return None
    return 0.0


def link(some: Sequence[Origin], others: Sequence[Origin]) -> float:
    """How alike two groups are: of the smaller group's cases, how near each is to the other group, on average."""
    few, many = sorted((some, others), key=len)
    if not few:
        return APART
    vectors = np.stack([case.vector for case in many])
    return float(np.mean([likeness(case, many, vectors) for case in few]))
