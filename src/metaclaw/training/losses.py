"""The arithmetic of training: pure functions over tensors, no model and no state.

Shapes are suffixes: N reply tokens, V vocabulary, K kept entries of the teacher. Everything is in nats, one value
a token; `weighted_mean` turns them into the number that is minimised.

The teacher is kept as its K most likely tokens. What is left, on both sides, counts as one further token, "any
other": so each divergence is a true Kullback-Leibler divergence between K + 1 outcomes, never negative, zero only
when teacher and student agree, and a lower bound of the one over the whole vocabulary.
"""

from __future__ import annotations

import torch
from torch import Tensor

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


def weighted_mean(values_N: Tensor, weights_N: Tensor) -> Tensor:
    """Sum of value times weight over the sum of weights, a scalar; 0 where nothing has weight."""
    return (values_N * weights_N).sum() / weights_N.sum().clamp_min(torch.finfo(weights_N.dtype).tiny)


def _kl(p_NK: Tensor, q_NK: Tensor) -> Tensor:
    return (p_NK.exp() * (p_NK - q_NK)).sum(dim=-1)


def _with_tail(logprobs_NK: Tensor) -> Tensor:
    """(N, K + 1): the K kept log-probabilities and that of any other token."""
    tail_N1 = (1 - logprobs_NK.exp().sum(dim=-1, keepdim=True)).clamp_min(SMALLEST_TAIL)
    return torch.cat([logprobs_NK, tail_N1.log()], dim=-1)
