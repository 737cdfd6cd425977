"""Word the matching skills as one block of text, inside a budget. Pure.

The block is delimited and attributed; skills stand in the order of their names, not of their scores, so that the same
set gives the same bytes and a provider's prompt cache stays warm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.types import Skill

OPENING = (
    '<learned-skills source="metaclaw">\n'
    "Learned from this user's earlier feedback. Follow what applies to the request; ignore the rest.\n"
)
CLOSING = "</learned-skills>"
CHARACTERS_PER_TOKEN = 4


@dataclass(frozen=True, slots=True)
class Composition:
    """`text` is empty when nothing is injected; `skills` are those inside it."""

    text: str
    skills: tuple[Skill, ...]


def compose(ranked: Sequence[Skill], max_tokens: int) -> Composition:
    """The best-ranked skills that fit into the budget, whole or not at all."""
    chosen: list[Skill] = []
    for skill in ranked:
        if estimate_tokens(_block([*chosen, skill])) <= max_tokens:
            chosen.append(skill)
    ordered = sorted(chosen, key=lambda skill: skill.name)
    return Composition(_block(ordered) if ordered else "", tuple(ordered))


def estimate_tokens(text: str) -> int:
    """Tokens, estimated from above for prose and code in Latin script."""
    return -(-len(text.encode()) // CHARACTERS_PER_TOKEN)


def _block(skills: Sequence[Skill]) -> str:
    parts = [f"\n## {skill.name}\n{_neutral(skill.body)}\n" for skill in skills]
    return OPENING + "".join(parts) + CLOSING


def _neutral(body: str) -> str:
    """A skill cannot close the block that it stands in."""
    return body.strip().replace(CLOSING, "[/learned-skills]")

