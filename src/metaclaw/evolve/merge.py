"""Two skills that teach one rule become one: the better one's text, found by what either was asked for. Pure.

Nothing is rewritten: the kept skill's body stays as it was proved, to the byte. Its description names requests of both,
chosen so that they differ: a skill is found by its description too.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence

from metaclaw.evolve.parts import rule_of
from metaclaw.evolve.quoting import wordings
from metaclaw.library.skillfile import MAX_DESCRIPTION
from metaclaw.types import Skill, SkillState

LEAD = "How this user wants it done. Use for requests like:"
MOST_REQUESTS, MOST_CHARACTERS = 10, 160  # of each
WORD = re.compile(r"\w+")
# Speaks of more than one case, in the languages in which corrections are heard.
EVERY = re.compile(
    r"\b(?:all|any|each|every|alle[nrs]?|jede[nrsm]?|tou(?:s|tes?)|chaque|tod[oa]s|cada|tutt[ei]|ogni|elke?|iedere?"
    r"|wszystkie|każd\w+|все|кажд\w+)\b|所有|每|すべて|各|모든",
    re.IGNORECASE,
)


def better_first(
    one: Skill, other: Skill, fits: Mapping[str, float], pinned: frozenset[str], unvouched: frozenset[str] = frozenset()
) -> tuple[Skill, Skill]:
    """The one to keep, and the one that goes: what is pinned, proved, or vouched for stays, else the general over the
    specific. `unvouched` are the refs of skills whose words nobody vouches for.

    General is what says how it is done from now on ('all times carry ...') over what says it of one case ('task 405
    should be due at ...'). `fits` tells by name how near a skill's text is to what either was asked for: the specific
    one is near to few of it, and is found less (measured: with the nearer text every rule of the bench is found, with
    the older one in four not).
    """

    def worth(skill: Skill) -> tuple[bool, bool, bool, bool, float]:
        rule = rule_of(skill)
        general = bool(EVERY.search(rule) or wordings().directive.search(rule))
        active, vouched = skill.state is SkillState.ACTIVE, skill.ref not in unvouched
        return skill.name in pinned, active, vouched, general, fits[skill.name]

    first, second = sorted((one, other), key=lambda skill: (worth(skill), skill.name), reverse=True)
    return first, second


def widened(skill: Skill, requests: Sequence[str]) -> Skill:
    """The skill, found by these requests. A description that its author wrote stays in front of them."""
    lead = LEAD if skill.description.startswith(LEAD) else f"{skill.description.partition(LEAD)[0].strip()} {LEAD}"
    text = lead
    lines = dict.fromkeys(" ".join(request.split())[:MOST_CHARACTERS] for request in requests)
    for number, request in enumerate(varied(list(lines))):
        longer = f"{text}{' |' if number else ''} {request}"
        if len(longer) > MAX_DESCRIPTION:
            break
        text = longer
    return skill if text == lead else dataclasses.replace(skill, description=text)


def varied(requests: Sequence[str]) -> list[str]:
    """A few that differ: the first, and then always the one that shares least with those chosen."""
    words = [frozenset(WORD.findall(request.lower())) for request in requests]
    chosen: list[int] = []
    shared = [0.0] * len(requests)
    while len(chosen) < min(MOST_REQUESTS, len(requests)):
        row = min((row for row in range(len(requests)) if row not in chosen), key=lambda row: shared[row])
        chosen.append(row)
        shared = [max(old, _overlap(words[row], other)) for old, other in zip(shared, words, strict=True)]
    return [requests[row] for row in chosen]


def _overlap(some: frozenset[str], others: frozenset[str]) -> float:
    return len(some & others) / max(1, len(some | others))
