"""How many tokens a chat request takes, where nobody can count them: estimated from above. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from metaclaw.dialects.base import BYTES_PER_TOKEN

FILE_TOKENS = 1_600  # an image, as Anthropic counts a large one; its bytes say nothing about it
MARKUP_TOKENS = 4  # what a chat template puts around each message
READ = ("messages", "tools", "response_format")


def estimated_tokens(body: Mapping[str, Any]) -> int:
    """Of the prompt alone: conversation, tools and the schema of the reply."""
    read = {name: body[name] for name in READ if name in body}
    return -(-_size(read) // BYTES_PER_TOKEN) + MARKUP_TOKENS * len(body["messages"])


def _size(value: Any) -> int:
    """In bytes of text."""
    if isinstance(value, str):
        return FILE_TOKENS * BYTES_PER_TOKEN if value.startswith("data:") else len(value.encode(errors="replace"))
    if isinstance(value, dict):
        return sum(len(str(name)) + _size(inner) for name, inner in value.items())
    if isinstance(value, list):
        return sum(map(_size, value))
    return len(str(value))
