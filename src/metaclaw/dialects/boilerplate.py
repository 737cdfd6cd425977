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
    return BOILERPLATE.sub(" ", text).strip()
