"""Word the matching skills as one block of text, and pick the code skills to offer, inside one budget. Pure.

The block is delimited and attributed; skills stand in the order of their names, not of their scores, so that the same
set gives the same bytes and a provider's prompt cache stays warm. Code skills are no text: they are handed over as
`Offer`s, in the order of their names too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from metaclaw.context.offers import Offer, offer_of
from metaclaw.types import Skill, SkillKind

OPENING = (
    '<learned-skills source="metaclaw">\n'
    "Learned from this user's earlier feedback. Follow what applies to the request; ignore the rest.\n"
)
CLOSING = "</learned-skills>"
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Composition:
    """`text` is empty when nothing is injected; `skills` are those inside it, `tools` those to be offered beside it.

    `refs` are those of the skills.
    """

    text: str
    skills: tuple[Skill, ...]
    tools: tuple[Offer, ...] = ()
    refs: tuple[str, ...] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "refs", tuple(skill.ref for skill in self.skills))


def compose(ranked: Sequence[Skill], max_tokens: int) -> Composition:
    """The best-ranked skills that fit into the budget, whole or not at all."""
    chosen: list[Skill] = []
    tools: list[Offer] = []
    left = max_tokens  # beside the tools
    for skill in ranked:
        if skill.kind is SkillKind.CODE:
            offer = offer_of(skill)
            if offer and (cost := _tokens(offer.characters)) + _cost(chosen) <= left:
                tools.append(offer)
                left -= cost
        elif _cost([*chosen, skill]) <= left:
            chosen.append(skill)
    ordered = sorted(chosen, key=lambda skill: skill.name)
    offered = tuple(sorted(tools, key=lambda offer: offer.name))
    return Composition(_block(ordered) if ordered else "", tuple(ordered), offered)


def estimate_tokens(text: str) -> int:
    """Tokens, estimated from above for prose and code in Latin script."""
    return _tokens(len(text.encode()))


def _tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def _cost(skills: Sequence[Skill]) -> int:
    return estimate_tokens(_block(skills)) if skills else 0


def _block(skills: Sequence[Skill]) -> str:
    parts = [f"\n## {skill.name}\n{_neutral(skill.body)}\n" for skill in skills]
    return OPENING + "".join(parts) + CLOSING


def _neutral(body: str) -> str:
    """A skill cannot close the block that it stands in."""
    return body.strip().replace(CLOSING, "[/learned-skills]")

