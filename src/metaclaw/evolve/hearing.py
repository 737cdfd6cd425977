"""What a correction says, rule by rule, beside what the library holds: said again, said anew, or new.

In: a failure. Out: a `Heard` for each rule that its words state, with the live skill that states it already, or that it
changes. Nothing is written here; `lessons` acts on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.evolve.extractive import MIN_CHARACTERS, MIN_WORDS
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.nearest import Nearest
from metaclaw.evolve.parts import (
    changes,
    parts_of,
    rule_in,
    rule_of,
    same_template,
    speaks_of_change,
    taken_back,
    without,
)
from metaclaw.evolve.quoting import GAP
from metaclaw.evolve.secondhand import secondhand
from metaclaw.evolve.standing import is_vouched_for
from metaclaw.types import Skill

LOOKED_AT = 48  # live skills, the nearest, that are compared word by word
SAME_RULE = 0.8  # cosine of two rules above which they say the same thing
SAME_SUBJECT = 0.4  # from which on they speak of the same: different rules of a house reach it in 1 of 100 pairs
CHANGED_SUBJECT = 0.5  # from which on what has changed takes the other's place: measured from 0.53 on, others to 0.25
OWN = ("extractive", "model")  # what was learned; a skill by a person's own hand only that person changes


@dataclass(frozen=True, slots=True)
class Heard:
    """`failure` is the failure with the words of this rule alone. `known` states it already; `outdated` says it as it
    was, and is taken back where the words quote it; `gone` are others that hold no longer, by what the user says.
    `subjects` are the live skills that speak of the same, by ref."""

    failure: Failure
    known: Skill | None = None
    outdated: Skill | None = None
    gone: tuple[Skill, ...] = ()
    subjects: frozenset[str] = frozenset()
    quotes: bool = False

    @property
    def vouched(self) -> bool:
        """Whether somebody answers for the words: those that only quote a rule of the library are as good as own."""
        said = self.failure.words.own.replace(GAP, "") if self.quotes else self.failure.correction
        return is_vouched_for(dataclasses.replace(self.failure, correction=said))

    @property
    def is_new(self) -> bool:
        return self.known is None and self.outdated is None

    @property
    def given(self) -> bool:
        """Whether the rule was in the prompt of the turn that failed."""
        return self.known is not None and self.known.ref in self.failure.turn.skills


def hear(failure: Failure, nearest: Nearest, pinned: frozenset[str]) -> tuple[list[Heard], Failure]:
    """What is heard, and the failure less what its user only quotes of the library: these are the user's own rules."""
    found, failure = _taken_back(failure, nearest, pinned)
    if found and failure.doubt:
        failure = dataclasses.replace(failure, doubt=secondhand(failure))
    failure = dataclasses.replace(failure, overheard=not failure.vouched)  # of a part's words alone it cannot be told
    found = [_of_one_piece_with(failure, one) for one in found]
    parts = parts_of(failure.words.own)
    for part in parts:
        found += _hear_part(failure, part, nearest, pinned, alone=len(parts) == 1)
    said_again = {one.known.ref for one in found if one.known}
    found = [
        dataclasses.replace(one, gone=tuple(skill for skill in one.gone if skill.ref not in said_again))
        for one in found
    ]
    if len(found) > 1:  # the check is of all of them together: it tells nothing of one
        found = [dataclasses.replace(one, failure=dataclasses.replace(one.failure, check=None)) for one in found]
    return found, failure


def _of_one_piece_with(failure: Failure, heard: Heard) -> Heard:
    """What is known of whose words the message is holds for each of its rules."""
    said = dataclasses.replace(heard.failure, overheard=failure.overheard, doubt=failure.doubt)
    return dataclasses.replace(heard, failure=said)


def _taken_back(failure: Failure, nearest: Nearest, pinned: frozenset[str]) -> tuple[list[Heard], Failure]:
    """The rules that the user quotes to say that they hold no longer, or only so and so."""
    found, left = list[Heard](), failure.correction
    for skill, _ in nearest.ranked(left)[:LOOKED_AT] if left else ():
        if skill.origin in OWN and skill.name not in pinned:
            clause, left = taken_back(left, rule_of(skill))
            if clause:
                said = dataclasses.replace(failure, correction=clause)
                found.append(Heard(said, outdated=skill, subjects=frozenset({skill.ref}), quotes=True))
    return found, dataclasses.replace(failure, correction=left) if found else failure


def _hear_part(
    failure: Failure, part: str, nearest: Nearest, pinned: frozenset[str], *, alone: bool
) -> list[Heard]:
    ranked = nearest.ranked(rule_in(part))[:LOOKED_AT]
    found, rest = list[Heard](), part
    for skill, _ in ranked:
        left, stated = without(rest, rule_of(skill))
        if stated:
            said = part if len(rule_in(left)) < MIN_CHARACTERS else rule_of(skill)
            said_again = dataclasses.replace(failure, correction=said)
            gone = tuple(_given(failure, ranked, pinned)) if speaks_of_change(part) else ()
            found.append(Heard(said_again, skill, gone=gone, subjects=frozenset({skill.ref})))
            rest = left
    words = rule_in(rest)
    if found and (len(words.split()) < MIN_WORDS or len(words) < MIN_CHARACTERS):
        return found
    text = failure.correction if alone and not found else rest
    subjects = frozenset(skill.ref for skill, cosine in ranked if cosine >= SAME_SUBJECT)
    changed = _changed(words, failure, ranked, pinned)
    known = None if changed else _known(words, ranked)
    outdated = changed[0] if changed else None
    of_part = dataclasses.replace(failure, correction=text)
    return [*found, Heard(of_part, known, outdated, tuple(changed[1:]), subjects)]


def is_to_blame(skill: Skill, failure: Failure, heard: Sequence[Heard]) -> bool:
    """Whether a failure is evidence against a skill that was in its prompt: where nothing was said; where its rule was
    said again, and no other rule that could explain the failure; where another rule on its subject was said. What is
    said anew replaces it, which is another matter."""
    if skill.ref not in failure.turn.skills or any(skill in (one.outdated, *one.gone) for one in heard):
        return False
    if not heard:
        return True
    again = [one for one in heard if one.known and one.known.ref == skill.ref]
    if again:
        return all(one.given for one in heard)
    return any(skill.ref in one.subjects and not one.known for one in heard)


def _changed(
    words: str, failure: Failure, ranked: Sequence[tuple[Skill, float]], pinned: frozenset[str]
) -> list[Skill]:
    """The skills that hold no longer: the first is the one whose place the words take.

    The same sentence with other particulars, or, where the user says that something has changed, what is near and was
    in the prompt.
    """
    if outdated := _outdated(words, failure, [one for one in ranked if one[0].name not in pinned]):
        return [outdated]
    return _given(failure, ranked, pinned) if speaks_of_change(words) else []


def _given(failure: Failure, ranked: Sequence[tuple[Skill, float]], pinned: frozenset[str]) -> list[Skill]:
    """What was learned and was in the prompt, of the same subject as what has changed."""
    return [
        skill for skill, cosine in ranked
        if cosine >= CHANGED_SUBJECT and skill.ref in failure.turn.skills and skill.origin in OWN
        and skill.name not in pinned
    ]


def _outdated(words: str, failure: Failure, ranked: Sequence[tuple[Skill, float]]) -> Skill | None:
    """The skill that says the same sentence otherwise, and was in the prompt or is as near as what says the same."""
    learned = (
        skill for skill, cosine in ranked
        if skill.origin in OWN and (skill.ref in failure.turn.skills or cosine >= SAME_RULE)
    )
    return next((one for one in learned if changes(words, failure.turn.query, rule_of(one), _asked(one))), None)


def _asked(skill: Skill) -> str:
    return "\n".join(text for _, text in skill.cues)


def _known(words: str, ranked: Sequence[tuple[Skill, float]]) -> Skill | None:
    """The skill that says the same in other words. The same sentence with other particulars does not."""
    near = (skill for skill, cosine in ranked if cosine >= SAME_RULE)
    return next((skill for skill in near if not same_template(words, rule_of(skill))), None)
