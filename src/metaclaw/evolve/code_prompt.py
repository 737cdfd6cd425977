"""What the model is asked for a code skill: the schema of its answer, two worked cases, and how a repair is asked for.

Small models keep to a form that they have seen once; the first field makes them state the task before they decide.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from metaclaw.evolve.failure import Failure
from metaclaw.library.tool import script_of
from metaclaw.types import Skill

MAX_ANSWER_TOKENS = 1_000
FIELDS: dict[str, Any] = {
    "task": {"type": "string", "maxLength": 300},
    "code_helps": {"type": "boolean"},
    "use_for": {"type": "string", "maxLength": 300},
    "not_for": {"type": "string", "maxLength": 300},
    "capabilities": {"type": "array", "items": {"type": "string", "maxLength": 60}, "maxItems": 4},
    "script": {"type": "string"},
    "failed_call": {"type": "string", "maxLength": 600},
    "right_answer": {"type": "string", "maxLength": 300},
    "tests": {"type": "array", "items": {"type": "string", "maxLength": 300}, "maxItems": 5},
}
SCHEMA: dict[str, Any] = {
    "type": "object", "properties": FIELDS, "required": list(FIELDS), "additionalProperties": False,
}
INSTRUCTIONS = (
    "An assistant failed. If a small Python function would give the right answer, for this and for other requests of"
    " the same kind, write it, as JSON. Computing, converting, formatting, parsing, validating, counting, dates: code"
    " helps. Opinions, tone, knowledge: it does not; then code_helps is false and the rest stays empty.\n"
    "task: what to compute and in which form, as the user wants it.\n"
    "script: one public function with a type on every argument and on what it returns, and a docstring. Types: int,"
    " float, str, bool, list[str], dict[str, int], str | None; a date is a str such as 2026-03-31. It returns exactly"
    " what the user wants to read, with unit and form. Standard library only; no files, no network, no clock, no random"
    " numbers. Never write the right answer into it: compute it from the arguments.\n"
    "failed_call: the call for the failed request, with the values that the request gives.\n"
    "right_answer: copied from what the user said, or empty.\n"
    "tests: three other calls, each as call == value.\n"
    "capabilities: always an empty list."
)
COMPUTED = (
    "Request: Alien runs for 117 minutes. How long is that?\nFailed answer: It runs for 2 hours and 57 minutes.\n"
    "The user said: No, that is wrong. We write lengths as hours:minutes, it should be `1:57`."
)
COMPUTED_ANSWER = {
    "task": "Write a length given in minutes as hours:minutes.",
    "code_helps": True,
    "use_for": "Writing a length in minutes as hours and minutes.",
    "not_for": "Times of day.",
    "capabilities": [],
    "script": (
        'def minutes_to_hours(minutes: int) -> str:\n    """Write a length in minutes as H:MM.\n\n'
        '    minutes: the whole length\n    """\n    hours, rest = divmod(minutes, 60)\n'
        '    return f"{hours}:{rest:02d}"\n'
    ),
    "failed_call": "minutes_to_hours(minutes=117)",
    "right_answer": "1:57",
    "tests": [
        'minutes_to_hours(minutes=60) == "1:00"', 'minutes_to_hours(minutes=5) == "0:05"',
        'minutes_to_hours(minutes=600) == "10:00"',
    ],
}
NOT_COMPUTED = (
    "Request: Write a line for Ann's birthday card, she turns 40.\nFailed answer: Felicitations on this occasion.\n"
    "The user said: Too stiff. We are good friends, write warmly."
)
NOT_COMPUTED_ANSWER = {
    "task": "Write a warm line to a friend.", "code_helps": False, "use_for": "", "not_for": "",
    "capabilities": [], "script": "", "failed_call": "", "right_answer": "", "tests": [],
}
REPAIR_SCHEMA: dict[str, Any] = {
    "type": "object", "additionalProperties": False, "required": ["mistake", "script", "failed_call"],
    "properties": {name: FIELDS.get(name, FIELDS["task"]) for name in ("mistake", "script", "failed_call")},
}
REPAIR_INSTRUCTIONS = (
    "A Python function was written for a request, run, and found wrong. Say in mistake, letter by letter, what differs"
    " between what it returned and what it must return, or what the error says. Then write the whole script again with"
    " this mended: the same function, a type on every argument and on what it returns, a docstring. It computes its"
    " value from the arguments; the right answer itself must not stand in it. Then the call."
)
MISTAKEN = (
    COMPUTED.replace("117", "125").replace("1:57", "2:05").replace("2 hours and 57", "1 hour and 65")
    + "\n\nScript:\n" + str(COMPUTED_ANSWER["script"]).replace(":02d", "")
    + '\nCall: minutes_to_hours(minutes=125)\nIt was run:\n- the call with {"minutes": 125} returned 2:5, but the right'
    " answer is 2:05 ('0' is missing)"
)
MISTAKEN_ANSWER = {
    "mistake": "It returned 2:5, where the minutes have one digit; 2:05 has two digits for them. They must be padded.",
    "script": COMPUTED_ANSWER["script"],
    "failed_call": "minutes_to_hours(minutes=125)",
}


def messages_for(failure: Failure, tools: Sequence[tuple[Skill, bool]]) -> list[dict[str, Any]]:
    """The question. `tools` are the existing code skills, and whether the failed turn had each."""
    return [
        {"role": "system", "content": INSTRUCTIONS},
        {"role": "user", "content": NOT_COMPUTED},
        {"role": "assistant", "content": json.dumps(NOT_COMPUTED_ANSWER)},
        {"role": "user", "content": COMPUTED},
        {"role": "assistant", "content": json.dumps(COMPUTED_ANSWER)},
        {"role": "user", "content": case_of(failure) + _existing(tools)},
    ]


def case_of(failure: Failure) -> str:
    """The failure in words, with what the script must return for it."""
    told = (
        f"Request: {failure.turn.query[:1500]}\nFailed answer: {failure.turn.reply[:600]}\n"
        f"The user said: {failure.correction[:1500] or 'nothing, but the answer was wrong'}"
    )
    if failure.check:
        return f"{told}\nA right answer matches: {failure.check.pattern[:300]}"
    wanted = f"\nFor this request, the function must return exactly: {failure.expected}"
    return told + (wanted if failure.expected else "")


def repair_messages_for(failure: Failure, fields: Mapping[str, Any], wrong: Sequence[str]) -> list[dict[str, Any]]:
    """The question for another script, after one that does not hold.

    With messages of its own: after its first answer a small model writes that again (measured on 1.5B).
    """
    return [
        {"role": "system", "content": REPAIR_INSTRUCTIONS},
        {"role": "user", "content": MISTAKEN},
        {"role": "assistant", "content": json.dumps(MISTAKEN_ANSWER)},
        {"role": "user", "content": f"{case_of(failure)}\n\n{_tried(fields['script'], fields['failed_call'], wrong)}"},
    ]


def _tried(script: str, call: str, wrong: Sequence[str]) -> str:
    told = "\n".join(f"- {item[:700]}" for item in wrong[:6])
    return f"Script:\n{script.strip()[:3000]}\n\nCall: {call[:600]}\nIt was run:\n{told}"


def _existing(tools: Sequence[tuple[Skill, bool]]) -> str:
    if not tools:
        return ""
    told = ["\n\nThere are tools already; to mend one, use its name and keep its function's arguments:"]
    for skill, used in tools:
        told.append(f"- {skill.name}: {skill.description[:200]}")
        if used:
            told.append(f"  It was there when the assistant failed. Its script:\n{script_of(skill)[:3000]}")
    return "\n".join(told)
