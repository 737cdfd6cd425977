"""A skill written or mended by a model, as one edit in JSON under a schema.

In: a failure with what bears on it (`Evidence`). Out: an `Edit`: a new skill, a better version of one that is there,
one skill in the place of several, or nothing; None when the answer cannot be used. The model sees the user's own words
only: what they passed on of others, and what tools said, is not shown. The prompt shows one worked case; the first
field is the user's rule in the model's own words, because small models write a better example after having stated the
rule (measured on 1.5B), and what a small model need not choose is not in its schema.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from metaclaw.dialects.base import object_or_empty
from metaclaw.evolve.extractive import body_for
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.rejected import RejectedEdit
from metaclaw.evolve.screen import runs_of
from metaclaw.evolve.verify import Ask
from metaclaw.library.skillfile import MAX_DESCRIPTION, MAX_NAME
from metaclaw.types import Skill, Turn

FIELDS = ("rule", "name", "use_for", "not_for", "example_request", "example_answer")
MAX_ANSWER_TOKENS = 400
MAX_SHOWN, MAX_SKILL_SHOWN = 300, 400  # characters of a success or a rejected edit, and of a skill
INSTRUCTIONS = (
    "An assistant failed. Write down, as JSON, the general rule that would have prevented it, so that it holds for "
    "other requests of the same kind. Never copy the failed answer as the example answer."
)
CHOICE = (
    " 'edit' is 'create' for a rule that none of the skills there are has; 'refine' to improve the one skill in "
    "'names', keeping what it says beyond this case; 'merge' to put one skill in the place of several in 'names' that "
    "say the same; 'nothing' if no rule would have helped."
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


class EditKind(StrEnum):
    CREATE = "create"
    REFINE = "refine"
    MERGE = "merge"
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True)
class Edit:
    """`skill` is what it would publish, None for nothing; `names` are the live skills that it changes or takes in.

    `rule` is the skill's rule alone, without example and limits.
    """

    kind: EditKind
    skill: Skill | None = None
    names: tuple[str, ...] = ()
    rule: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """A failure with turns of its kind that went well, the nearest live skills, and edits that were not taken."""

    failure: Failure
    successes: Sequence[Turn] = ()
    near: Sequence[Skill] = ()
    rejected: Sequence[RejectedEdit] = ()


async def propose(evidence: Evidence, ask: Ask) -> Edit | None:
    """One attempt. Raises `UpstreamError` when the model cannot be asked."""
    return read_edit(await ask(request_body(evidence)), evidence)


def schema_for(evidence: Evidence) -> dict[str, Any]:
    """The choice of an edit is part of it only where there is a skill to refine; to merge, there must be two."""
    properties: dict[str, Any] = {"rule": _text(600)}
    if evidence.near:
        kinds = [kind.value for kind in EditKind if kind is not EditKind.MERGE or len(evidence.near) > 1]
        names = {"type": "string", "enum": [skill.name for skill in evidence.near]}
        properties["edit"] = {"type": "string", "enum": kinds}
        properties["names"] = {"type": "array", "items": names, "maxItems": len(evidence.near)}
    properties |= {field: _text(600) for field in FIELDS[1:]}
    return {
        "type": "object", "properties": properties, "required": list(properties), "additionalProperties": False,
    }


def request_body(evidence: Evidence) -> dict[str, Any]:
    choice: dict[str, Any] = {"edit": "create", "names": []} if evidence.near else {}
    worked = {"rule": WORKED_ANSWER["rule"], **choice, **WORKED_ANSWER}
    named = object_or_empty(evidence.failure.turn.request).get("model")
    return {
        **({"model": named} if isinstance(named, str) else {}),  # the one that failed; ours may be no provider's
        "messages": [
            {"role": "system", "content": INSTRUCTIONS + (CHOICE if evidence.near else "")},
            {"role": "user", "content": WORKED_CASE},
            {"role": "assistant", "content": json.dumps(worked)},
            {"role": "user", "content": told(evidence)},
        ],
        "temperature": 0,
        "max_tokens": MAX_ANSWER_TOKENS,
        "response_format": {
            "type": "json_schema",
            "json_schema": {"name": "skill", "strict": True, "schema": schema_for(evidence)},
        },
    }


def told(evidence: Evidence) -> str:
    """The case in words."""
    failure = evidence.failure
    parts = [
        f"Request: {failure.request.own[:1500]}",
        f"Failed answer: {failure.turn.reply[:600]}",
        f"The user said: {failure.words.own[:1500] or 'nothing, but the answer was wrong'}",
    ]
    if evidence.successes:
        parts.append("These requests of the same kind were answered well:")
        parts += [f"- {_line(turn.query)} -> {_line(turn.reply)}" for turn in evidence.successes]
    if evidence.near:
        parts.append("These skills are there:")
        parts += [f"- {skill.name}: {_line(skill.body, MAX_SKILL_SHOWN)}" for skill in evidence.near]
    if evidence.rejected:
        parts.append("These rules were tried and did not help:")
        parts += [_tried(edit) for edit in evidence.rejected]
    return "\n".join(parts)


def read_edit(reply: str, evidence: Evidence) -> Edit | None:
    """The edit; None where it is not the JSON that was asked for, or repeats the failed answer."""
    try:
        fields = json.loads(reply)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict):
        return None
    kind, names = fields.get("edit", "create"), fields.get("names", [])
    if kind not in list(EditKind) or not isinstance(names, list):
        return None
    if kind == EditKind.NOTHING:
        return Edit(EditKind.NOTHING)
    if not all(isinstance(fields.get(field), str) for field in FIELDS):
        return None
    if fields["example_answer"].strip() == evidence.failure.turn.reply.strip():
        return None
    changed = tuple(skill.name for skill in evidence.near if skill.name in names)
    edit = _edit(EditKind(kind), changed, _skill(fields, evidence.failure))
    return dataclasses.replace(edit, rule=fields["rule"])


def _edit(kind: EditKind, names: tuple[str, ...], skill: Skill) -> Edit:
    """What the names allow: a small model says 'merge' of one skill, or 'refine' of none."""
    if kind is EditKind.CREATE or not names:
        return Edit(EditKind.CREATE, skill)
    if kind is EditKind.MERGE and len(names) > 1:
        return Edit(EditKind.MERGE, skill, names)
    return Edit(EditKind.REFINE, dataclasses.replace(skill, name=names[0]), names[:1])


def _skill(fields: dict[str, str], failure: Failure) -> Skill:
    name = re.sub(r"[^a-z0-9]+", "-", fields["name"].lower()).strip("-")[: MAX_NAME - 8].strip("-")
    description = f"{fields['use_for']} Not for: {fields['not_for']} Like: {failure.example[:400]}"
    example = _example(fields["example_request"], failure)
    body = body_for(fields["rule"], example, fields["example_answer"], fields["not_for"])
    return Skill(name or "learned-rule", description[:MAX_DESCRIPTION].strip(), body, origin="model")


def _example(request: str, failure: Failure) -> str:
    """The model's example; where it copies the failed request, only what of that a skill may hold."""
    material = runs_of(failure.turn.query) - runs_of(failure.example)
    return failure.example if runs_of(request) & material else request


def _tried(edit: RejectedEdit) -> str:
    got = f"; the answer was then: {_line(edit.failed[0][1], 100)}" if edit.failed else ""
    return f"- {_line(edit.body)} ({_line(edit.reason, 100)}{got})"


def _line(text: str, most: int = MAX_SHOWN) -> str:
    return " ".join(text.split())[:most]


def _text(most: int) -> dict[str, Any]:
    return {"type": "string", "minLength": 3, "maxLength": most}
