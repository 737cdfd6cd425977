"""What agents put around the words of their user. Pure."""

from __future__ import annotations

import re

TAGS = (
    r"system-reminder|local-command-\w+"  # Claude Code
    r"|environment_details"  # Cline and its kin
    r"|environment_context|user_instructions|user_shell_command|turn_aborted|subagent_notification"  # Codex
)
BOILERPLATE = re.compile(
    rf"<({TAGS})>.*?</\1>"
    # Codex again: the project's AGENTS.md, sent in the user's name. The heading alone may be the user's own.
    r"|^# AGENTS\.md instructions[^\n]*\s+<INSTRUCTIONS>.*?</INSTRUCTIONS>",
    re.DOTALL | re.MULTILINE,
)


def strip_boilerplate(text: str) -> str:
    """The text without the blocks that agents put around what the user wrote."""
    return strip_moving(BOILERPLATE.sub(" ", text)).strip()


# What changes with each request, or stands elsewhere in the next one: blocks between two marks, and single lines.
MOVING_BLOCKS = (
    ("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>", "<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"),  # of its own or before the words
    ("[Runtime Context", "[/Runtime Context]"),  # nanobot, behind the words
)
MOVING_LINES = (  # each tried only where its mark occurs
    ("x-anthropic-billing-header:", re.compile(r"^x-anthropic-billing-header:[^\n]*\n?", re.MULTILINE)),  # Claude Code
    ("OpenClaw runtime ", re.compile(
        r"^OpenClaw runtime (?:context (?:for the|\()|event\.)[^\n]*(?:\nThis context is runtime-generated[^\n]*)?",
        re.MULTILINE,
    )),
    ("\n```json\n", re.compile(  # OpenClaw: where a message came from
        r"^[A-Z][\w ]{2,60}(?:: ⟦openclaw:ctx⟧| \(untrusted metadata\):)[ \t]*\n```json\n(?:[^\n]*\n){1,80}?```",
        re.MULTILINE,
    )),
)
SAID_AT = re.compile(r"\s*\[[A-Z][a-z]{2} \d{4}-\d{2}-\d{2} \d{2}:\d{2}[^\]\n]{0,40}\][ \t]*")  # OpenClaw


def strip_moving(text: str) -> str:
    """The text without what agents write anew into each request."""
    for begin, end in MOVING_BLOCKS:
        text = _without(text, begin, end)
    for mark, pattern in MOVING_LINES:
        if mark in text:
            text = pattern.sub(" ", text)
    said_at = SAID_AT.match(text)
    return text[said_at.end() :] if said_at else text


def _without(text: str, begin: str, end: str) -> str:
    """Not a pattern: one would look for the end again at each beginning that has none."""
    kept, at = [], 0
    while (start := text.find(begin, at)) >= 0 and (stop := text.find(end, start)) >= 0:
        kept.append(text[at:start])
        at = stop + len(end)
    return " ".join([*kept, text[at:]]) if kept else text
