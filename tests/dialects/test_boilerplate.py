"""What agents put around the words of their user does not count as said."""

from __future__ import annotations

import pytest

from metaclaw.dialects.boilerplate import strip_boilerplate

QUESTION = "Write a haiku about the sea."
REMINDER = "<system-reminder>The shelf is 120 cm long, its length in inches and millimetres.</system-reminder>"
ENVIRONMENT = "<environment_context>\n  <cwd>/home/ada/sea</cwd>\n  <shell>bash</shell>\n</environment_context>"
AGENTS = "# AGENTS.md instructions for /home/ada/sea\n\n<INSTRUCTIONS>\n# Rules\nBe brief.\n\n</INSTRUCTIONS>"
OLD_AGENTS = "<user_instructions>\n\nBe brief.\n\n</user_instructions>"
ABORTED = "<turn_aborted>\nThe user interrupted the previous turn on purpose.\n</turn_aborted>"


@pytest.mark.parametrize("block", [REMINDER, ENVIRONMENT, AGENTS, OLD_AGENTS, ABORTED, f"{AGENTS}\n{ENVIRONMENT}"])
def test_what_agents_put_around_the_users_words_does_not_count(block: str) -> None:
    assert strip_boilerplate(f"{block}\n{QUESTION}\n<environment_details>\ncwd\n</environment_details>") == QUESTION
    assert strip_boilerplate(f"{QUESTION}\n{block}") == QUESTION
    assert strip_boilerplate(block) == ""


@pytest.mark.parametrize(
    "words",
    [
        "What is an <environment_context> good for?",
        "Shorten this:\n# AGENTS.md instructions for beginners\n\nWrite them short.",
        "Say `# AGENTS.md instructions` <INSTRUCTIONS>in my words</INSTRUCTIONS>",
        "<instructions>Mine, and to be kept.</instructions>",
    ],
)
def test_what_only_resembles_it_stays(words: str) -> None:
    assert strip_boilerplate(words) == words
