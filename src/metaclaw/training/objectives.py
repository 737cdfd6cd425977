"""What each token of a reply costs the student, by the objective and by whose words the reply is. Pure.

    replayed        KL(base || student): stay where the base is
    proven, sft     cross-entropy of the reply
    proven, distill KL(teacher || student) and cross-entropy; where the tokens were recorded when they were sampled, the
                    divergence is weighted by how much likelier the teacher finds them than the policy that sampled them
    own, distill    KL(student || teacher) on the student's own samples, weighted by how much likelier they are now than
    own, opd        when they were sampled; the teacher is the base with the skills in its prompt, or a stronger model
    own, grpo       the clipped surrogate of PPO, with the sample's advantage in its group

Weights are capped (`importance_cap`), and a token whose probability was not recorded has weight 1, which is only ever
the one that ends a reply. A reply that is text only is never weighted.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from metaclaw.training import losses
from metaclaw.training.examples import Example
from metaclaw.training.recipe import TrainJob


@dataclass(frozen=True, slots=True)
class Taught:
    """What a teacher says of the reply's tokens: its most likely ones, and how likely it finds those of the reply."""

    top_NK: Tensor
    ids_NK: Tensor
    said_N: Tensor


def cost(job: TrainJob, example: Example, logits_NV: Tensor, taught: Taught | None) -> Tensor:
    """Of each token of the reply, (N,)."""
    targets_N = torch.tensor(example.reply)
    if example.advantage is not None:
        now_N = _said(logits_NV, targets_N)
        return losses.policy_loss(now_N, _then(example, now_N), example.advantage, job.policy_clip)
    if taught is None:
        return losses.cross_entropy(logits_NV, targets_N)
    student_NK = losses.pick(logits_NV, taught.ids_NK)
    if example.replay:
        return losses.forward_kl(taught.top_NK, student_NK)
    if example.kind == "own":
        weight_N = _weight(job, example, _said(logits_NV, targets_N))
        return weight_N * losses.reverse_kl(taught.top_NK, student_NK)
    divergence_N = losses.forward_kl(taught.top_NK, student_NK)
    if example.logprobs:
        divergence_N = _weight(job, example, taught.said_N) * divergence_N
    if not job.reply_weight:
        return divergence_N
    return divergence_N + job.reply_weight * losses.cross_entropy(logits_NV, targets_N)


def drift(logits_NV: Tensor, base: Taught) -> Tensor:
    """KL(base || student) of each token, (N,), for the log: no gradient."""
    return losses.forward_kl(base.top_NK, losses.pick(logits_NV.detach(), base.ids_NK))


def _said(logits_NV: Tensor, targets_N: Tensor) -> Tensor:
    return losses.pick(logits_NV, targets_N[:, None])[:, 0]


def _weight(job: TrainJob, example: Example, now_N: Tensor) -> Tensor:
    return losses.importance(now_N, _then(example, now_N), job.importance_cap)


def _then(example: Example, now_N: Tensor) -> Tensor:
    """The recorded log-probabilities; where one is missing, that of now, so that its ratio is 1."""
    recorded_M = torch.tensor(example.logprobs)
    return torch.cat([recorded_M, now_N.detach()[len(recorded_M) :]])
