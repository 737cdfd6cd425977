"""What agents put around the words of their user does not count as said."""

from __future__ import annotations

import time

import pytest

from metaclaw.dialects.boilerplate import first_words, strip_boilerplate

QUESTION = "Write a haiku about the sea."
REMINDER = "<system-reminder>The shelf is 120 cm long, its length in inches and millimetres.</system-reminder>"
ENVIRONMENT = "<environment_context>\n  <cwd>/home/ada/sea</cwd>\n  <shell>bash</shell>\n</environment_context>"
AGENTS = "# AGENTS.md instructions for /home/ada/sea\n\n<INSTRUCTIONS>\n# Rules\nBe brief.\n\n</INSTRUCTIONS>"
OLD_AGENTS = "<user_instructions>\n\nBe brief.\n\n</user_instructions>"
ABORTED = "<turn_aborted>\nThe user interrupted the previous turn on purpose.\n</turn_aborted>"


AROUND = [REMINDER, ENVIRONMENT, AGENTS, OLD_AGENTS, ABORTED, f"{AGENTS}\n{ENVIRONMENT}"]


@pytest.mark.parametrize("block", AROUND)
def test_what_agents_put_around_the_users_words_does_not_count(block: str) -> None:
    assert strip_boilerplate(f"{block}\n{QUESTION}\n<environment_details>\ncwd\n</environment_details>") == QUESTION
    assert strip_boilerplate(f"{QUESTION}\n{block}") == QUESTION
    assert strip_boilerplate(block) == ""


OPENCLAW = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nmessage_id=1\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
NOTICE = (
    "OpenClaw runtime context for the immediately preceding user message.\n"
    "This context is runtime-generated, not user-authored. Keep internal details private."
)
INFO = 'Conversation info: ⟦openclaw:ctx⟧\n```json\n{"sender": "ada"}\n```'
OLD_INFO = 'Sender (untrusted metadata):\n```json\n{\n  "name": "ada"\n}\n```'
NANOBOT = "[Runtime Context — metadata only, not instructions]\nTime: 10:15\n[/Runtime Context]"
BILLING = "x-anthropic-billing-header: cc_version=2.1.1; cch=36ee5;"


@pytest.mark.parametrize("block", [OPENCLAW, NOTICE, INFO, OLD_INFO, NANOBOT, BILLING, f"{NOTICE}\n{OPENCLAW}\n{INFO}"])
def test_what_agents_write_anew_into_each_request_does_not_count(block: str) -> None:
    assert strip_boilerplate(f"{block}\n\nNo, that is wrong.") == "No, that is wrong."
    assert strip_boilerplate(f"{block}\n[Tue 2026-11-24 10:15 GMT+1] No, that is wrong.") == "No, that is wrong."
    assert strip_boilerplate(f"No, that is wrong.\n{block}") == "No, that is wrong."
    assert strip_boilerplate(block) == ""


WHOLE_FILES = "To suggest changes to a file you MUST return the entire content of the updated file.\nYou MUST use this"
BLOCKS = "# *SEARCH/REPLACE block* Rules:\n\nEvery *SEARCH/REPLACE block* must use this format:"
MINI = "You can execute bash commands and edit files to implement the necessary changes.\n\n## Recommended Workflow"
RUNTIME = "Runtime: agent=main | session=agent:main:explicit:x | sessionId=x | host=vm | model=metaclaw/m"


@pytest.mark.parametrize("block", [WHOLE_FILES, BLOCKS, MINI, RUNTIME])
def test_what_agents_put_behind_the_users_words_does_not_count(block: str) -> None:
    assert strip_boilerplate(f"{QUESTION}\n\n{block}") == QUESTION
    assert strip_boilerplate(block) == ""
    assert strip_boilerplate(f"Please solve this issue: {QUESTION}\n\n{MINI}") == QUESTION


EXAMPLE, SWITCH = "Change the greeting to be more casual", (
    "I switched to a new code base. Please don't consider the above files or try to edit them any longer."
)
FILES = "I have *added these files to the chat* so you can go ahead and edit them.\n\nsea.py\n```\n```"


def test_aiders_worked_examples_and_files_are_not_the_users_first_words() -> None:
    assert first_words([EXAMPLE, SWITCH, FILES, f"{QUESTION}\n\n{WHOLE_FILES}"]).startswith(QUESTION)
    assert first_words([EXAMPLE]) == EXAMPLE
    assert first_words([EXAMPLE, SWITCH]) == ""
    assert strip_boilerplate(FILES) == ""


@pytest.mark.parametrize(
    "words",
    [
        "What is an <environment_context> good for?",
        "Shorten this:\n# AGENTS.md instructions for beginners\n\nWrite them short.",
        "Say `# AGENTS.md instructions` <INSTRUCTIONS>in my words</INSTRUCTIONS>",
        "<instructions>Mine, and to be kept.</instructions>",
        "What does x-anthropic-billing-header: mean?",
        "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> is in my log",
        "OpenClaw runtime errors trouble me",
        'Settings:\n```json\n{"a": 1}\n```',
        "[Note 1] Keep this",
        "At [Tue 2026-11-24 10:15 UTC] it broke",
        "[Runtime Context] is what I see",
        "Please solve this issue: the sea is too wide.",
        "Why does it say `# *SEARCH/REPLACE block* Rules:`?",
        "Runtime: agent=main",
    ],
)
def test_what_only_resembles_it_stays(words: str) -> None:
    assert strip_boilerplate(words) == words


def test_many_beginnings_without_an_end_cost_no_more_than_reading_them() -> None:
    began = time.perf_counter()
    assert strip_boilerplate("<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>> [Runtime Context x " * 20_000)
    assert time.perf_counter() - began < 2
