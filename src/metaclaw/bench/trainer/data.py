"""Conversations to train on: no two system prompts alike, so that nothing can be shared but what the template adds."""

from __future__ import annotations

import random
from typing import Any

THINGS = ["the budget review", "a trip to Oslo", "the new printer", "our summer fair", "the annual report", "a parcel"]
WAYS = ["in plain words", "for a colleague", "for the management", "as a reminder", "with care", "without jargon"]
SENTENCES = [
    "Start with what is known and leave the rest for later.", "Write the date first, then the place, then the names.",
    "Nobody reads a second page, so the first one must do.", "If something is missing, ask before you guess.",
    "Keep every figure beside the source that it came from.", "A short table often says more than a paragraph.",
    "Close with what should happen next, and who does it.", "What was promised last week belongs at the top.",
]


def rows(count: int, seed: int) -> list[dict[str, Any]]:
    """As `dataset.jsonl` holds them; replies of about 30 to 110 tokens."""
    source = random.Random(seed)
    return [_row(number, source) for number in range(count)]


def _row(number: int, source: random.Random) -> dict[str, Any]:
    thing, way = source.choice(THINGS), source.choice(WAYS)
    system = f"Desk {number}: you help a small office. " + " ".join(source.sample(SENTENCES, 2))
    reply = " ".join(source.sample(SENTENCES, source.randint(2, 7)))
    messages = [
        {"role": "system", "content": system}, {"role": "user", "content": f"How do I write about {thing}, {way}?"},
    ]
    return {"id": str(number), "split": "train", "messages": messages, "reply": f"About {thing}: {reply}"}
