"""What agents put around the words of their user. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

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


# Behind the user's words, to the end of the message.
TAILS = (
    "To suggest changes to a file you MUST return the entire content of the updated file.\n",  # aider's edit formats
    "# *SEARCH/REPLACE block* Rules:\n",
    "# V4A Diff Format Rules:\n",
    "# File editing rules:\n",
    "You can execute bash commands and edit files to implement the necessary changes.\n",  # mini-swe-agent
)
LEAD = "Please solve this issue: "  # mini-swe-agent
# What messages begin with that aider writes in the user's name: the last of its worked examples, then its files.
EXAMPLES_END = "I switched to a new code base. Please don't consider the above files"
STAGE = (
    EXAMPLES_END,
    "I am not sharing any files that you can edit yet.",
    "I have *added these files to the chat* so you can go ahead and edit them.",
    "Don't try and edit any existing code without asking me to add the files to the chat!",
    "Here are summaries of some files present in my git repository.",
    "Here are some READ ONLY files, provided for your reference.",
)


def strip_boilerplate(text: str) -> str:
    """The text without the blocks that agents put around what the user wrote; empty where they wrote all of it."""
    text = strip_moving(BOILERPLATE.sub(" ", text)).strip()
    if text.startswith(STAGE):
        return ""
    for mark in TAILS:
        start = text.find(mark)
        if start == 0 or (start > 0 and text[start - 2 : start] == "\n\n"):
            text = text[:start].removeprefix(LEAD).rstrip()
    return text


def first_words(texts: Sequence[str]) -> str:
    """The first of these messages in the user's name that the user wrote: not an example before it, nor a file list."""
    examples = next((number for number, text in enumerate(texts) if text.startswith(EXAMPLES_END)), -1)
    return next((text for text in texts[examples + 1 :] if strip_boilerplate(text)), "")


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
    ("Runtime: agent=", re.compile(r"^Runtime: agent=[^\n|]* \| session=[^\n]*", re.MULTILINE)),  # OpenClaw again
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
