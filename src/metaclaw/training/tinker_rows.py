"""The objectives in the words of the Tinker API, which tells of each token its own log-probability and no other. Pure.

    replayed, proven   `cross_entropy`: the replies are the base's and the teacher's own words, so this is KL(base ||
                       student) and KL(teacher || student) as seen in one sample each, less what does not change
    own, distill, opd  `importance_sampling`, where a token is worth log p(teacher) - log p(student): KL(student ||
                       teacher) as seen in the student's own sample
    own, grpo          `ppo`, with the sample's advantage in its group

So a divergence is estimated from one token at each position, and not, as in `objectives`, summed over the teacher's
most likely ones: right on average, and noisier.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from metaclaw.errors import TrainingError
from metaclaw.training import losses
from metaclaw.training.examples import Example, Ids
from metaclaw.training.objectives import Taught
from metaclaw.training.recipe import TrainJob

Loss = Literal["cross_entropy", "importance_sampling", "ppo"]
Values = tuple[float, ...]
LEAST_TAUGHT = math.log(losses.SMALLEST_TAIL)
"""What a teacher finds all but impossible (or did not name at all) is worth no more than this against a token."""

MOST_GAINED = 3.0
"""In nats: beyond it, the token was none that the base would sample, and one such would be the whole mean."""


@dataclass(frozen=True, slots=True)
class TokenRow:
    """`worth` of each token of the reply: its weight for `cross_entropy`, else its advantage, and then `logprobs` are
    those that it was sampled with.
    """

    loss: Loss
    prompt: Ids
    reply: Ids
    worth: Values
    logprobs: Values = ()

    @property
    def ids(self) -> Ids:
        return self.prompt + self.reply

    def over_prompt(self, values: Values) -> list[float]:
        """One value for each position of the row but its last token, zero where the prompt is."""
        return [0.0] * (len(self.prompt) - 1) + list(values)

    def cost(self, job: TrainJob, now: Sequence[float]) -> float:
        """What was minimised over this row, from the log-probabilities of its reply before the step."""
        if self.loss == "cross_entropy":
            return -sum(worth * said for worth, said in zip(self.worth, now, strict=True))
        least = -math.inf if self.loss == "importance_sampling" else 1 - job.policy_clip
        most = math.inf if self.loss == "importance_sampling" else 1 + job.policy_clip
        total = 0.0
        for worth, said, then in zip(self.worth, now, self.logprobs, strict=True):
            ratio = math.exp(said - then)
            total -= min(ratio * worth, min(max(ratio, least), most) * worth)
        return total


def row_of(job: TrainJob, example: Example, taught: Taught | None) -> TokenRow:
    """`taught` as `needs_teacher` asks for it."""
    count, weight = len(example.reply), example.weight
    if example.kind != "own":
        return TokenRow("cross_entropy", example.prompt, example.reply, _weights(job, example, taught))
    if example.advantage is not None:
        worth = (weight * example.advantage,) * count
        return TokenRow("ppo", example.prompt, example.reply, worth, example.logprobs)
    if taught is None:
        raise TrainingError(f"nobody teaches the sample of {example.id}")
    said = [max(LEAST_TAUGHT, float(one)) for one in taught.said_N]
    worth = tuple(weight * (told - then) for told, then in zip(said, example.logprobs, strict=True))
    return TokenRow("importance_sampling", example.prompt, example.reply, worth, example.logprobs)


def drift(base: float, now: float) -> float:
    """KL(base || student) as seen in one token that the base sampled: never negative, and right on average."""
    ratio = min(now - base, MOST_GAINED)
    return math.expm1(ratio) - ratio


def needs_teacher(job: TrainJob, example: Example) -> bool:
    """Whether the base's opinion of this reply, on the teacher's prompt, is wanted."""
    if example.teacher_prompt is None or example.kind == "query":
        return False
    weighed = example.kind == "own" or bool(example.logprobs)
    return example.replay or (job.objective == "distill" and weighed)


def _weights(job: TrainJob, example: Example, taught: Taught | None) -> Values:
    """With `distill` a proven reply counts twice, as in `objectives`: as the teacher's words, and as the reply. Where
    its tokens were recorded, the first is weighed by how much likelier the teacher finds them than who sampled them.
    """
    count = len(example.reply)
    if example.replay:
        return (example.weight * job.replay_weight,) * count
    if job.objective != "distill" or example.teacher_prompt is None:
        return (example.weight,) * count
    divergence = [1.0] * count
    if taught is not None:
        most = math.log(job.importance_cap)
        for at, then in enumerate(example.logprobs):
            divergence[at] = math.exp(min(float(taught.said_N[at]) - then, most))
    return tuple(example.weight * (one + job.reply_weight) for one in divergence)
