"""The arithmetic of training: pure functions over tensors, no model and no state.

Shapes are suffixes: N reply tokens, V vocabulary, K kept entries of the teacher, G samples of one prompt. Everything
is in nats, one value a token; the student adds them up, weighted, to the number that is minimised.

The teacher is kept as its K most likely tokens. What is left, on both sides, counts as one further token, "any
other": so each divergence is a true Kullback-Leibler divergence between K + 1 outcomes, never negative, zero only
when teacher and student agree, and a lower bound of the one over the whole vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

LEAST_DEVIATION = 1e-6
SMALLEST_TAIL = 1e-6
"""Floor of the mass of "any other": below it, rounding in the K kept ones would be all there is to learn from."""


def cross_entropy(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    """-log p(target) in nats for each token, (N,)."""
    return torch.nn.functional.cross_entropy(logits_NV.float(), targets_N, reduction="none")


def top_k(logits_NV: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The k most likely tokens: log-probabilities over the whole vocabulary (N, k) and ids (N, k)."""
    logits_NV = logits_NV.float()
    values_NK, ids_NK = logits_NV.topk(min(k, logits_NV.shape[-1]), dim=-1)
    return values_NK - logits_NV.logsumexp(dim=-1, keepdim=True), ids_NK


def pick(logits_NV: Tensor, ids_NK: Tensor) -> Tensor:
    """The log-probabilities (N, K) that these logits give to the tokens `ids_NK`."""
    logits_NV = logits_NV.float()
    return logits_NV.gather(-1, ids_NK) - logits_NV.logsumexp(dim=-1, keepdim=True)


def forward_kl(teacher_NK: Tensor, student_NK: Tensor) -> Tensor:
    """KL(teacher || student) for each token (N,), from log-probabilities of the same K tokens.

    It spreads the student over all that the teacher finds likely.
    """
    return _kl(_with_tail(teacher_NK), _with_tail(student_NK))


def reverse_kl(teacher_NK: Tensor, student_NK: Tensor) -> Tensor:
    """KL(student || teacher) for each token (N,): it pulls the student onto what the teacher finds most likely."""
    return _kl(_with_tail(student_NK), _with_tail(teacher_NK))


def importance(now_N: Tensor, then_N: Tensor, cap: float) -> Tensor:
    """How much likelier each token is now than when it was sampled, at most `cap`, (N,); no gradient flows through it.

    Cut from above only: a token that became unlikely counts for little, and none for more than it can bear.
    """
    return (now_N.detach() - then_N).exp().clamp_max(cap)


def policy_loss(now_N: Tensor, then_N: Tensor, advantage: float, clip: float) -> Tensor:
    """The clipped surrogate of PPO for each token, (N,), to be minimised: it pays to make the tokens of a good sample
    likelier, those of a bad one less likely, as far as the ratio to the sampling policy stays within 1 ± `clip`.
    """
    ratio_N = (now_N - then_N).exp()
    return -torch.minimum(ratio_N * advantage, ratio_N.clamp(1 - clip, 1 + clip) * advantage)


def advantages(rewards_G: Sequence[float]) -> list[float] | None:
    """Each reward less the group's mean, in its standard deviations; None where all are the same: nothing to learn."""
    mean = sum(rewards_G) / max(len(rewards_G), 1)
    deviation = math.sqrt(sum((reward - mean) ** 2 for reward in rewards_G) / max(len(rewards_G), 1))
    return [(reward - mean) / deviation for reward in rewards_G] if deviation > LEAST_DEVIATION else None


def _kl(p_NK: Tensor, q_NK: Tensor) -> Tensor:
    return (p_NK.exp() * (p_NK - q_NK)).sum(dim=-1)


def _with_tail(logprobs_NK: Tensor) -> Tensor:
    """(N, K + 1): the K kept log-probabilities and that of any other token."""
    tail_N1 = (1 - logprobs_NK.exp().sum(dim=-1, keepdim=True)).clamp_min(SMALLEST_TAIL)
    return torch.cat([logprobs_NK, tail_N1.log()], dim=-1)
