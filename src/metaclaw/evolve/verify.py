"""Does the skill mend what went wrong? Replays with it and without it, until the evidence decides or cannot any more.

In: requests of one kind that can be scored (the failed one first), some unrelated ones, a skill, and a way to ask the
model. Out: a `Comparison`, and the `Verdict` that it makes. The replays are side calls: nothing learns from them.

Each pair asks afresh, at a temperature above zero: the failed request was chosen because it failed once, and the same
reply once more would credit any change of the prompt with the luck of the draw. The test is an e-process (a bet on each
pair; Ville's inequality): whenever one looks, a skill without effect reaches 20 with a chance of 1 in 20 at most, so
that looking after each pair, and stopping early or when the time is up, costs no validity.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.context.compose import compose
from metaclaw.dialects.chat import inject
from metaclaw.dialects.translation import as_chat
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.unrelated import Probe, Spill, spill
from metaclaw.types import Skill, Verdict

Ask = Callable[[dict[str, Any]], Awaitable[str]]
MAX_REPLY_TOKENS = 512
SAMPLE_TEMPERATURE = 0.7  # at least, where the client names one: samples must be able to differ
MOST_PAIRS, MOST_SECONDS = 8, 60.0
MOST_REQUEST_BYTES = 100_000  # a longer request is not replayed: twenty times its price for one skill
BETS = ((0.8, 0.95), (0.2, 0.5))  # (share of the capital, stake): five wins in a row decide, and one loss is survived
DECISIVE = 20.0  # an e-value; its inverse bounds the chance of a false admission
FUTILE = 2  # pairs in a row from the first on that the skill mends nothing in: of one that mends 9 of 10, in 1 of 100
MENDS_NOTHING = "rejected: does not mend the failure"
AT_ONCE = 2  # questions to the model: the user's own need room beside them
MOST_SPILLED = 1  # of the unrelated requests: a small model is put off by any text once in a while


@dataclass(frozen=True, slots=True)
class Pair:
    """One request, replayed without the skill and with it. `turn_id` names the request."""

    turn_id: str
    without: str
    with_skill: str
    passed: tuple[bool, bool]

    @property
    def gain(self) -> int:
        return int(self.passed[1]) - int(self.passed[0])


@dataclass(frozen=True, slots=True)
class Comparison:
    """`spilled` are the unrelated requests that the skill harmed, among `probed`."""

    pairs: tuple[Pair, ...]
    spilled: tuple[Spill, ...] = ()
    probed: int = 0

    @property
    def e_value(self) -> float:
        """The most that the bets were ever worth; 1 before any."""
        gains = [pair.gain for pair in self.pairs]
        return max([1.0, *(e_value(gains[:n]) for n in range(1, len(gains) + 1))])

    @property
    def decision(self) -> str:
        """What it means; begins with admitted, inconclusive or rejected."""
        right = [sum(pair.passed[arm] for pair in self.pairs) for arm in (0, 1)]
        if self.e_value >= DECISIVE:
            spills = len(self.spilled) > MOST_SPILLED
            return "rejected: spills into unrelated requests" if spills else "admitted: mends the failure"
        if right[1] < right[0]:
            return "rejected: breaks what was right"
        if right[1] > right[0]:
            return "inconclusive: too little evidence"
        own = [pair.passed[1] for pair in self.pairs if pair.turn_id == self.pairs[0].turn_id]  # the failure's
        return MENDS_NOTHING if 2 * sum(own) < len(own) else "inconclusive: right either way"

    @property
    def admitted(self) -> bool:
        return self.decision.startswith("admitted")


class Replays:
    """The replays of one failure. What was asked without a skill is asked once, and compared with each candidate."""

    def __init__(
        self,
        cases: Sequence[Failure],
        probes: Sequence[Probe],
        ask: Ask,
        max_skill_tokens: int,
        now: Callable[[], float] = time.monotonic,
        plain: dict[tuple[str, str], str] | None = None,
    ) -> None:
        """`plain` remembers what the model says to the probes without a skill, from one failure to the next."""
        self.cases = [case for case in cases if case.can_score and len(case.turn.request) <= MOST_REQUEST_BYTES]
        self._probes = probes
        self._ask = ask
        self._max_skill_tokens = max_skill_tokens
        self._now = now
        self._without: dict[int, str] = {}
        self._plain = {} if plain is None else plain

    async def compare(self, skill: Skill) -> Comparison | None:
        """None where nothing can tell right from wrong. Raises `UpstreamError` when the model cannot be asked."""
        if not self.cases:
            return None
        block, until = compose([skill], self._max_skill_tokens).text, self._now() + MOST_SECONDS
        pairs: list[Pair] = []
        while _open(pairs) and (not pairs or self._now() < until):
            pairs.append(await self._pair(len(pairs), block))
            if len(pairs) == FUTILE and not any(pair.passed[1] for pair in pairs):
                break
        compared = Comparison(tuple(pairs))
        if not compared.admitted:
            return compared
        found: list[Spill | None] = []
        for start in range(0, len(self._probes), AT_ONCE):
            found += await asyncio.gather(*(self._probe(one, block) for one in self._probes[start : start + AT_ONCE]))
        return Comparison(tuple(pairs), tuple(filter(None, found)), len(self._probes))

    async def _pair(self, number: int, block: str) -> Pair:
        case = self.cases[number % len(self.cases)]
        if number in self._without:
            without, with_skill = self._without[number], await self._ask(replay_body(case, block))
        else:
            bodies = (replay_body(case, ""), replay_body(case, block))
            without, with_skill = await asyncio.gather(*map(self._ask, bodies))
            self._without[number] = without
        return Pair(case.turn.id, without, with_skill, (case.is_right(without), case.is_right(with_skill)))

    async def _probe(self, probe: Probe, block: str) -> Spill | None:
        """Asked a second time where the skill seems to have done harm: once may be chance. Not at all where there is
        nothing to harm: the reply is wrong without it.
        """
        model = self.cases[0].turn
        key = model.policy, probe.asked
        if key not in self._plain:
            self._plain[key] = await self._ask(probe.body(model, ""))
        if probe.passes is not None and not probe.passes(self._plain[key]):
            return None
        for _ in range(2):
            found = spill(probe, self._plain[key], await self._ask(probe.body(model, block)), block)
            if found is None:
                return None
        return found


def e_value(gains: Sequence[int]) -> float:
    """What one unit is worth after betting on each pair that the skill wins it; at most 1 on average without effect."""
    return sum(share * math.prod(1 + stake * gain for gain in gains) for share, stake in BETS)


def _open(pairs: Sequence[Pair]) -> bool:
    """Whether the evidence neither decides nor has become unable to."""
    gains = [pair.gain for pair in pairs]
    return e_value(gains) < DECISIVE <= e_value([*gains, *[1] * (MOST_PAIRS - len(gains))])


def verdict_of(skill: Skill, compared: Comparison, baseline: str = "without the skill") -> Verdict:
    """`confidence` is one minus the anytime-valid p-value, the inverse of the e-value."""
    found = compared.e_value
    return Verdict(
        subject=f"skill:{skill.ref}",
        baseline=baseline,
        candidate="with the skill",
        n=len(compared.pairs),
        effect=sum(pair.gain for pair in compared.pairs) / len(compared.pairs),
        confidence=round(1 - 1 / found, 6),
        decision=compared.decision,
        evidence={
            "turn": compared.pairs[0].turn_id,
            "e_value": round(found, 4),
            "p_value": round(1 / found, 6),
            "pairs": [
                {
                    "turn": pair.turn_id,
                    "without": {"reply": pair.without[:500], "passed": pair.passed[0]},
                    "with": {"reply": pair.with_skill[:500], "passed": pair.passed[1]},
                }
                for pair in compared.pairs
            ],
            "unrelated": {
                "n": compared.probed,
                "harmed": [
                    {"asked": one.asked[:200], "without": one.without[:200], "with": one.with_skill[:200]}
                    for one in compared.spilled
                ],
            },
        },
    )


def why_better(new: Comparison, old: Comparison, new_tokens: int, old_tokens: int) -> str:
    """Why the one takes the place of the other; empty where it does not.

    Both were replayed on the same requests in the same order; what only one of them got to is left aside. On one
    request alone nothing is replaced: there a rule and the answer to that very request look the same.
    """
    n = min(len(new.pairs), len(old.pairs))
    if not new.admitted or len(new.spilled) > len(old.spilled) or len({p.turn_id for p in new.pairs[:n]}) < 2:
        return ""
    passes = [sum(pair.passed[1] for pair in one.pairs[:n]) for one in (new, old)]
    if passes[0] > passes[1]:
        return f"right {passes[0]} times of {n}, the one before {passes[1]} times"
    if passes[0] == passes[1] and new_tokens < old_tokens:
        return f"as often right ({passes[0]} of {n}) with {new_tokens} tokens instead of {old_tokens}"
    return ""


def replay_body(failure: Failure, block: str, temperature: float | None = None) -> dict[str, Any]:
    """The failed request as it was sent, as a chat completion, not streamed, with `block` injected.

    Sampled as the client has it sampled, but never at one fixed draw; at `temperature` where one is given.
    """
    body = as_chat(failure.turn.dialect, json.loads(failure.turn.request))
    body |= {"messages": inject(body["messages"], block), "stream": False}
    named = body.get("temperature")
    if isinstance(named, int | float):  # some models know no temperature; where the client named none, nor do we
        body["temperature"] = max(float(named), SAMPLE_TEMPERATURE) if temperature is None else temperature
    for field in ("stream_options", "seed", "n"):  # with the client's seed, all samples would be one
        body.pop(field, None)
    if "max_completion_tokens" not in body:  # the newer name of the same limit; providers refuse both at once
        body.setdefault("max_tokens", MAX_REPLY_TOKENS)
    return body
