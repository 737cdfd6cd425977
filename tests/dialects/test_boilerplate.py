"""What agents put around the words of their user does not count as said."""

from __future__ import annotations

from metaclaw.dialects.boilerplate import strip_boilerplate

REMINDER = "<system-reminder>The shelf is 120 cm long, its length in inches and millimetres.</system-reminder>"


def test_what_agents_put_around_the_users_words_does_not_count() -> None:
    question = "Write a haiku about the sea."
    assert strip_boilerplate(f"{REMINDER}\n{question}\n<environment_details>\ncwd\n</environment_details>") == question
    assert strip_boilerplate(REMINDER) == ""
