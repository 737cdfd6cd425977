"""What agents put around the words of their user. Pure."""

from __future__ import annotations

import re

BOILERPLATE = re.compile(r"<(system-reminder|environment_details|local-command-\w+)>.*?</\1>", re.DOTALL)


def strip_boilerplate(text: str) -> str:
    """The text without the blocks that agents put around what the user wrote."""
    return BOILERPLATE.sub(" ", text).strip()
