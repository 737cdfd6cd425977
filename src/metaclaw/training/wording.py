"""A conversation as every chat template takes it: roles that they all know, and each message's content one text. Pure.

Templates that ship with models put strings together, know no `developer`, and raise, or leave a message out silently,
where they meet anything else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from metaclaw.dialects.chat import SYSTEM_ROLES, text_of
from metaclaw.types import Message


def in_words(messages: Sequence[Message]) -> list[Message] | None:
    """The same messages in words; None where there is more in one than words can say, such as an image."""
    told = [_told(message) for message in messages]
    return None if None in told else cast("list[Message]", told)


def _told(message: Message) -> Message | None:
    text, role = _text(message.get("content")), message.get("role", "")
    if text is None:
        return None
    return cast("Message", {**message, "role": "system" if role in SYSTEM_ROLES else role, "content": text})


def _text(content: Any) -> str | None:
    match content:
        case None:  # a message that only calls tools
            return ""
        case str():
            return content
        case list() if all(isinstance(part, dict) and part.get("type") == "text" for part in content):
            return text_of(content)
    return None
