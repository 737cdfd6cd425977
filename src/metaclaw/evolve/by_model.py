"""A skill written by a model, as JSON under a schema.

In: a failure, and the rejected attempts before this one. Out: an instruction skill, or None when the answer cannot be
used. The prompt shows one worked case; the first field is the user's rule in the model's own words, because small
models write a better example after having stated the rule (measured on 1.5B).
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.evolve.extractive import body_for
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.verify import Ask
from metaclaw.library.skillfile import MAX_DESCRIPTION
from metaclaw.types import Skill

FIELDS = ("rule", "name", "use_for", "not_for", "example_request", "example_answer")
MAX_ANSWER_TOKENS = 400
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {field: {"type": "string", "minLength": 3, "maxLength": 600} for field in FIELDS},
    "required": list(FIELDS),
    "additionalProperties": False,
}
INSTRUCTIONS = (
    "An assistant failed. Write down, as JSON, the general rule that would have prevented it, so that it holds for "
    "other requests of the same kind. Never copy the failed answer as the example answer."
)
WORKED_CASE = (
    "Request: Give the opening hours of the shop on Monday.\n"
    "Failed answer: 9 am to 5 pm\n"
    "The user said: We write hours on the 24-hour clock with a dash, like 09:00-17:00."
)
WORKED_ANSWER = {
    "rule": "Write opening hours on the 24-hour clock, with two digits and a dash between start and end.",
    "name": "opening-hours",
    "use_for": "Requests for opening hours or shifts.",
    "not_for": "Durations and dates.",
    "example_request": "When is the library open on Friday, ten to six?",
    "example_answer": "10:00-18:00",
}


async def propose(failure: Failure, rejected: Sequence[str], ask: Ask) -> Skill | None:
    """One attempt. Raises `UpstreamError` when the model cannot be asked."""
    reply = await ask(request_body(failure, rejected))
    return read_proposal(reply, failure)


def request_body(failure: Failure, rejected: Sequence[str]) -> dict[str, Any]:
    case = (
        f"Request: {failure.turn.query[:1500]}\nFailed answer: {failure.turn.reply[:600]}\n"
        f"The user said: {failure.correction[:1500] or 'nothing, but the answer was wrong'}"
    )
    if rejected:
        case += "\nThese rules were tried and did not help:\n" + "\n".join(f"- {item[:300]}" for item in rejected)
    named = object_or_empty(failure.turn.request).get("model")
    return {
        **({"model": named} if isinstance(named, str) else {}),  # the one that failed; ours may be no provider's
        "messages": [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": WORKED_CASE},
            {"role": "assistant", "content": json.dumps(WORKED_ANSWER)},
            {"role": "user", "content": case},
        ],
        "temperature": 0,
        "max_tokens": MAX_ANSWER_TOKENS,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "skill", "strict": True, "schema": SCHEMA},
        },
    }


def read_proposal(reply: str, failure: Failure) -> Skill | None:
    """The proposal as a skill; None where it is not the JSON that was asked for or repeats the failed answer."""
    try:
        fields = json.loads(reply)
    except ValueError:
        return None
    if not isinstance(fields, dict) or not all(isinstance(fields.get(field), str) for field in FIELDS):
        return None
    if fields["example_answer"].strip() == failure.turn.reply.strip():
        return None
    description = f"{fields['use_for']} Not for: {fields['not_for']} Like: {failure.turn.query[:400]}"
    name = re.sub(r"[^a-z0-9]+", "-", fields["name"].lower()).strip("-")[:56].strip("-")
    return Skill(
        name=name or "learned-rule",
        description=description[:MAX_DESCRIPTION],
        body=body_for(fields["rule"], fields["example_request"], fields["example_answer"]),
        origin="model",
    )
