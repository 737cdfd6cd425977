"""The static gate: may this text become a skill by itself, only with a person's approval, or not at all? Pure.

A proposal is untrusted. What is no valid skill, or holds a secret, is refused. What would take the agent over, hides
something, or says more than the user did is kept as a candidate, out of every prompt, for a person to decide on. In:
the skill, and what the user is known to have said; out: a `Ruling` with its reasons.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from metaclaw.errors import SkillError
from metaclaw.evolve.disguise import marks, views
from metaclaw.evolve.quoting import Words
from metaclaw.evolve.reach import ADDRESS, COMMAND
from metaclaw.evolve.threats import threats
from metaclaw.journal.redact import Redactor
from metaclaw.library.skillfile import check
from metaclaw.types import Skill

RUN_OF_WORDS = 6  # words in a row that a model can only have from where it read them
RUN_OF_CHARACTERS = 16  # the same where a script has no blanks between words


class Outcome(StrEnum):
    ACCEPT = "accept"
    QUARANTINE = "quarantine"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Ruling:
    outcome: Outcome
    reasons: tuple[str, ...] = ()


def rule_on(skill: Skill, redactor: Redactor, said: str | None = None, foreign: Sequence[str] = ()) -> Ruling:
    """The gate's word on a skill.

    `said` is what the user said, where somebody else worded the skill; None where these are the user's own words.
    `foreign` are texts that nobody vouches for: what was copied from them is not the user's.
    """
    text = _text(skill)
    refused = _refusals(skill, text, redactor)
    found = [*refused, *marks(text), *_threats(text)]
    if said is not None:
        found += _additions(text, said)
    found += _copied(text, said or "", foreign)
    outcome = Outcome.REFUSE if refused else Outcome.QUARANTINE if found else Outcome.ACCEPT
    return Ruling(outcome, tuple(found))


def objections(skill: Skill, redactor: Redactor) -> list[str]:
    """Why the skill must not be published by itself; empty when nothing stands against it."""
    return list(rule_on(skill, redactor).reasons)


def gives_orders(words: Words) -> bool:
    """Whether what the user only passed on tells somebody what to do, or would take an agent over."""
    return words.passes_orders or any(True for text in words.foreign for view in views(text) for _ in threats(view))


def _text(skill: Skill) -> str:
    files = "\n".join(text for _, text in skill.files)
    return f"{skill.name.replace('-', ' ')}\n{skill.description}\n{skill.body}\n{files}"


def _refusals(skill: Skill, text: str, redactor: Redactor) -> list[str]:
    found = []
    try:
        check(skill)
    except SkillError as error:
        found.append(str(error))
    if redactor.text(text) != text or any(redactor.text(view) != view for view in views(text)[:1]):
        found.append("holds something that looks like a secret")
    return found


def _threats(text: str) -> list[str]:
    found: dict[str, str] = {}
    for view in views(text):
        for family, words in threats(view):
            found.setdefault(family, words)
    return [f"reads like an attempt to take over the agent: {family}: '{words}'" for family, words in found.items()]


def _additions(text: str, said: str) -> list[str]:
    """Addresses, paths and commands that the user never named."""
    known = said.lower()
    added = [match.group(0).strip(" `(;&|$.,") for find in (ADDRESS, COMMAND) for match in find.finditer(text)]
    return [f"names what the user did not: '{one[:80]}'" for one in dict.fromkeys(added) if one.lower() not in known]


def _copied(text: str, said: str, foreign: Sequence[str]) -> list[str]:
    """A run of words that stands in a foreign text, and in nothing that the user said."""
    runs, spoken = runs_of(text), runs_of(said)
    for passage in foreign:
        if runs & runs_of(passage) - spoken:
            return ["repeats a text that the user only passed on"]
    return []


def runs_of(text: str) -> frozenset[tuple[str, ...]]:
    """The runs of words by which a copy is known; of characters, where a script has no blanks."""
    words = re.findall(r"\w+", text.lower())
    runs = {tuple(words[at : at + RUN_OF_WORDS]) for at in range(len(words) - RUN_OF_WORDS + 1)}
    for word in words:  # a long word without blanks: Chinese, Japanese
        if not word.isascii():
            runs |= {(word[at : at + RUN_OF_CHARACTERS],) for at in range(len(word) - RUN_OF_CHARACTERS + 1)}
    return frozenset(runs)
