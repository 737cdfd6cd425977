"""A conversation in content blocks, as Anthropic writes one, told in chat messages.

Both formats hold the same things in other places: the system prompt is a message, a tool call is a member of the
assistant's message, a tool's result is a message of its own. Neighbours of one role are one turn, as they are for the
Messages API. Thinking becomes `reasoning_content`; its signature, and what only Anthropic's servers can read, is left
out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, cast

from metaclaw.dialects.chat import text_of
from metaclaw.dialects.loose import dict_of, dicts_of, string_of
from metaclaw.types import Message

Block = Mapping[str, Any]
Part = dict[str, Any]
BILLING = "x-anthropic-billing-header:"  # Claude Code puts this first, and changes it: no prompt would be cached
PARAGRAPH = "\n\n"
ELSEWHERE = "See the next message."  # where images of a result go


def as_chat(system: Any, messages: Sequence[Mapping[str, Any]]) -> list[Message]:
    """The chat messages of a request's `system` and `messages`."""
    told: list[Message] = []
    if text := _paragraphs(block for block in of(system) if not text_of([block]).startswith(BILLING)):
        told.append({"role": "system", "content": text})
    for by_assistant, turn in groupby(messages, key=lambda message: message["role"] == "assistant"):
        found = [block for message in turn for block in _of_message(message)]
        told.extend([_assistant(found)] if by_assistant else _user(found))
    return told


def of(content: Any) -> list[Block]:
    """The blocks of a content; a string is short for one block of text."""
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return [*dicts_of(content)]


def _of_message(message: Mapping[str, Any]) -> list[Block]:
    """An instruction in the middle goes into the user's turn, marked as agents mark theirs.

    Claude Code sends such ones to every model, while many chat templates take a system message at the beginning only.
    """
    if message["role"] != "system":
        return of(message.get("content"))
    text = _paragraphs(of(message.get("content")))
    return [_text(f"<system-reminder>\n{text}\n</system-reminder>")] if text else []


def _assistant(found: list[Block]) -> Message:
    """Text blocks of a reply are pieces of one text, cut where a citation or a tool call stands."""
    text = "".join(text_of([block]) for block in found)
    calls = [_call(block) for block in found if block.get("type") == "tool_use"]
    thoughts = [string_of(block.get("thinking")) for block in found if block.get("type") == "thinking"]
    message: dict[str, Any] = {"role": "assistant", "content": text or (None if calls else "")}
    if thought := PARAGRAPH.join(filter(None, thoughts)):
        message["reasoning_content"] = thought
    if calls:
        message["tool_calls"] = calls
    return cast(Message, message)


def _call(block: Block) -> dict[str, Any]:
    function = {"name": block.get("name"), "arguments": json.dumps(block.get("input") or {})}
    return {"id": block.get("id"), "type": "function", "function": function}


def _user(found: list[Block]) -> Iterator[Message]:
    """Results first, since chat wants them right behind the calls; then what else they hold, and what the user wrote.

    A chat message of role `tool` holds text alone, and has no field that says that the tool failed.
    """
    results = [block for block in found if block.get("type") == "tool_result"]
    shown: list[Part] = []
    for result in results:
        parts = list(_parts(of(result.get("content"))))
        shown += [part for part in parts if part["type"] != "text"]
        text = "\n".join(part["text"] for part in parts if part["type"] == "text") or (ELSEWHERE if parts else "")
        if result.get("is_error") and not text.lower().startswith("error"):
            text = f"Error: {text}"
        yield cast(Message, {"role": "tool", "tool_call_id": result.get("tool_use_id"), "content": text})
    content = [*shown, *_parts(block for block in found if block.get("type") != "tool_result")]
    if content or not results:
        yield {"role": "user", "content": _plain(content)}


def _parts(found: Iterable[Block]) -> Iterator[Part]:
    """Content parts as chat has them."""
    for block in found:
        match block.get("type"):
            case "text":
                yield _text(text_of([block]))
            case "image" if url := _url(block.get("source")):
                yield {"type": "image_url", "image_url": {"url": url}}
            case "document":
                yield from _document(block)
            case "search_result":
                yield _text(f"{string_of(block.get('title'))}\n{string_of(block.get('source'))}")
                yield from _parts(of(block.get("content")))
            case "tool_reference":
                yield _text(string_of(block.get("tool_name")))


def _document(block: Block) -> Iterator[Part]:
    source, title = dict_of(block.get("source")), string_of(block.get("title"))
    if source.get("type") == "base64":
        yield {"type": "file", "file": {"filename": title or "document.pdf", "file_data": _url(source)}}
        return
    if title:
        yield _text(title)
    if source.get("type") == "text":
        yield _text(string_of(source.get("data")))
    yield from _parts(of(source.get("content")))


def _text(text: str) -> Part:
    return {"type": "text", "text": text}


def _url(source: Any) -> str:
    """Where an image or a file is to be had: its address, or itself as a data URL. Empty for other sources."""
    found = dict_of(source)
    if found.get("type") == "base64":
        return f"data:{string_of(found.get('media_type'))};base64,{string_of(found.get('data'))}"
    return string_of(found.get("url"))


def _plain(parts: list[Part]) -> Any:
    """A string where all is text: every server reads that, and not every one a list."""
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _paragraphs(found: Iterable[Block]) -> str:
    return PARAGRAPH.join(text for block in found if (text := text_of([block])))
