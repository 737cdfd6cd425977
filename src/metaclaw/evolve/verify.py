"""Does the skill mend the failure that it came from? Replay the failed request with it and without it.

In: a failure, a skill, and a way to ask the model. Out: a `Verdict` on the pair, or None where nothing can tell right
from wrong (no check and no right answer in the user's words). The replays are side calls: nothing learns from them.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

from metaclaw.context.compose import compose
from metaclaw.dialects.chat import inject
from metaclaw.dialects.translation import as_chat
from metaclaw.evolve.failure import Failure
from metaclaw.signals.checks import bare, passes
from metaclaw.types import Skill, Verdict

Ask = Callable[[dict[str, Any]], Awaitable[str]]
MAX_REPLY_TOKENS = 512


async def verify(failure: Failure, skill: Skill, ask: Ask, max_skill_tokens: int) -> Verdict | None:
    """The paired replay, at temperature 0. Raises `UpstreamError` when the model cannot be asked."""
    if not can_score(failure):
        return None
    block = compose([skill], max_skill_tokens).text
    without = await ask(replay_body(failure, ""))
    with_skill = await ask(replay_body(failure, block))
    passed = (is_right(failure, without), is_right(failure, with_skill))
    return Verdict(
        subject=f"skill:{skill.ref}",
        baseline="without the skill",
        candidate="with the skill",
        n=1,
        effect=float(passed[1]) - float(passed[0]),
        confidence=0.5 if passed[1] > passed[0] else 0.0,
        decision=_decision(*passed),
        evidence={
            "turn": failure.turn.id,
            "without": {"reply": without[:500], "passed": passed[0]},
            "with": {"reply": with_skill[:500], "passed": passed[1]},
        },
    )


def can_score(failure: Failure) -> bool:
    return failure.check is not None or bool(failure.expected)


def is_right(failure: Failure, reply: str) -> bool:
    """By the check if there is one, else by the right answer that the user wrote down."""
    if failure.check is not None:
        return passes(failure.check, reply) is True
    return bare(failure.expected) in bare(reply)


def replay_body(failure: Failure, block: str) -> dict[str, Any]:
    """The failed request as it was sent, as a chat completion, not streamed, with `block` injected."""
    body = as_chat(failure.turn.dialect, json.loads(failure.turn.request))
    body |= {"messages": inject(body["messages"], block), "stream": False, "temperature": 0}
    body.pop("stream_options", None)
    if "max_completion_tokens" not in body:  # the newer name of the same limit; providers refuse both at once
        body.setdefault("max_tokens", MAX_REPLY_TOKENS)
    return body


def _decision(without: bool, with_skill: bool) -> str:
    if with_skill:
        return "inconclusive: right either way" if without else "admitted: mends the failure"
    return "rejected: does not mend the failure" if not without else "rejected: breaks what was right"
