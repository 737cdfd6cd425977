"""Word the matching skills as one block of text, inside a budget, and put it into a conversation. All pure.

The block is delimited and attributed; skills stand in the order of their names, not of their scores, so that the same
set gives the same bytes and a provider's prompt cache stays warm.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.types import Message, Skill

OPENING = (
    '<learned-skills source="metaclaw">\n'
    "Learned from this user's earlier feedback. Follow what applies to the request; ignore the rest.\n"
)
CLOSING = "</learned-skills>"
CHARACTERS_PER_TOKEN = 4
SYSTEM_ROLES = ("system", "developer")


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


def inject(messages: Sequence[Message], text: str) -> list[Message]:
    """The conversation with `text` at the end of its leading system message, or in a new one where there is none."""
    if not text:
        return list(messages)
    if messages and messages[0].get("role") in SYSTEM_ROLES:
        return [_extended(messages[0], text), *messages[1:]]
    return [{"role": "system", "content": text}, *messages]


def estimate_tokens(text: str) -> int:
    """Tokens, estimated from above for prose and code in Latin script."""
    return -(-len(text.encode()) // CHARACTERS_PER_TOKEN)


def _block(skills: Sequence[Skill]) -> str:
    parts = [f"\n## {skill.name}\n{_neutral(skill.body)}\n" for skill in skills]
    return OPENING + "".join(parts) + CLOSING


def _neutral(body: str) -> str:
    """A skill cannot close the block that it stands in."""
    return body.strip().replace(CLOSING, "[/learned-skills]")


def _extended(message: Message, text: str) -> Message:
    content = message.get("content")
    extended = message.copy()
    if isinstance(content, list):
        extended["content"] = [*content, {"type": "text", "text": text}]
    else:
        extended["content"] = f"{content}\n\n{text}" if content else text
    return extended
