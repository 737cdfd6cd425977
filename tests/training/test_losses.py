"""The arithmetic against values worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from metaclaw.training import losses

HALF_QUARTERS = torch.tensor([[0.5, 0.25, 0.25]]).log()
"""Logits of one token over three words; any constant may be added to logits."""


def test_cross_entropy_is_the_surprise_of_each_target() -> None:
    logits_NV = torch.cat([HALF_QUARTERS + 7.0, HALF_QUARTERS])
    got_N = losses.cross_entropy(logits_NV, torch.tensor([0, 2]))
    torch.testing.assert_close(got_N, torch.tensor([math.log(2), math.log(4)]))


def test_top_k_keeps_the_likeliest_with_probabilities_over_the_whole_vocabulary() -> None:
    logprobs_NK, ids_NK = losses.top_k(torch.tensor([[0.125, 0.5, 0.375]]).log() - 3.0, 2)
    assert ids_NK.tolist() == [[1, 2]]
    torch.testing.assert_close(logprobs_NK.exp(), torch.tensor([[0.5, 0.375]]))


def test_top_k_of_a_small_vocabulary_is_all_of_it() -> None:
    assert losses.top_k(HALF_QUARTERS, 99)[0].shape == (1, 3)


def test_pick_gives_the_probabilities_of_the_named_tokens() -> None:
    picked_NK = losses.pick(HALF_QUARTERS + 1.0, torch.tensor([[2, 0]]))
    torch.testing.assert_close(picked_NK.exp(), torch.tensor([[0.25, 0.5]]))


def test_divergences_count_what_is_not_kept_as_one_token() -> None:
    teacher_NK, student_NK = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.25, 0.25]]).log()
    # Teacher (1/2, 1/4, rest 1/4), student (1/4, 1/4, rest 1/2).
    forward = 0.5 * math.log(2) + 0.25 * math.log(1) + 0.25 * math.log(1 / 2)
    reverse = 0.25 * math.log(1 / 2) + 0.25 * math.log(1) + 0.5 * math.log(2)
    torch.testing.assert_close(losses.forward_kl(teacher_NK, student_NK), torch.tensor([forward]))
    torch.testing.assert_close(losses.reverse_kl(teacher_NK, student_NK), torch.tensor([reverse]))


def test_divergences_are_not_symmetric() -> None:
    sharp_NK, flat_NK = torch.tensor([[0.9, 0.05]]).log(), torch.tensor([[0.4, 0.3]]).log()
    assert not torch.allclose(losses.forward_kl(sharp_NK, flat_NK), losses.reverse_kl(sharp_NK, flat_NK))
    torch.testing.assert_close(losses.forward_kl(sharp_NK, flat_NK), losses.reverse_kl(flat_NK, sharp_NK))


def test_a_student_that_agrees_has_no_divergence_and_no_gradient() -> None:
    logits_NV = torch.randn(4, 50, generator=torch.Generator().manual_seed(1)).requires_grad_()
    teacher_NK, ids_NK = losses.top_k(logits_NV.detach(), 8)
    divergence_N = losses.forward_kl(teacher_NK, losses.pick(logits_NV, ids_NK))
    divergence_N.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(divergence_N, torch.zeros(4), atol=1e-6, rtol=0)
    assert logits_NV.grad is not None
    torch.testing.assert_close(logits_NV.grad, torch.zeros(4, 50), atol=1e-6, rtol=0)


def test_a_certain_teacher_leaves_finite_values() -> None:
    certain_NK = torch.tensor([[0.0, -80.0]])
    student_NK = torch.tensor([[-0.5, -3.0]])
    assert losses.forward_kl(certain_NK, student_NK).isfinite().all()
    assert losses.reverse_kl(certain_NK, student_NK).isfinite().all()


def test_importance_is_the_ratio_to_then_and_capped() -> None:
    now_N = torch.tensor([0.5, 0.3, 0.9]).log().requires_grad_()
    weight_N = losses.importance(now_N, torch.tensor([0.25, 0.6, 0.1]).log(), cap=3.0)
    torch.testing.assert_close(weight_N, torch.tensor([2.0, 0.5, 3.0]))  # 0.9 / 0.1 is 9
    assert not weight_N.requires_grad


@pytest.mark.parametrize(
    ("now", "then", "advantage", "loss", "slope"),
    [
        (0.55, 0.5, 2.0, -2.2, -2.2),  # within the bounds: ratio 1.1, and d ratio / d log now is the ratio
        (0.75, 0.5, 2.0, -2.4, 0.0),  # a good sample that is likely enough already: 1.2 times 2
        (0.25, 0.5, 2.0, -1.0, -1.0),  # a good one that became unlikely is pulled back
        (0.25, 0.5, -1.0, 0.8, 0.0),  # a bad one that is unlikely enough already: 0.8 times 1
        (0.75, 0.5, -1.0, 1.5, 1.5),  # a bad one that became likely is pushed down
    ],
)
def test_the_surrogate_is_clipped_where_more_would_go_too_far(
    now: float, then: float, advantage: float, loss: float, slope: float
) -> None:
    now_N = torch.tensor([now]).log().requires_grad_()
    got_N = losses.policy_loss(now_N, torch.tensor([then]).log(), advantage, clip=0.2)
    got_N.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(got_N.detach(), torch.tensor([loss]))
    assert now_N.grad is not None
    torch.testing.assert_close(now_N.grad, torch.tensor([slope]))


def test_advantages_are_in_standard_deviations_of_their_group() -> None:
    assert losses.advantages([1.0, 0.0, 0.0, 1.0]) == [1.0, -1.0, -1.0, 1.0]
    # mean 1/4, variance (9/16 + 3 * 1/16) / 4 = 3/16
    assert losses.advantages([1.0, 0.0, 0.0, 0.0]) == pytest.approx([math.sqrt(3), *[-1 / math.sqrt(3)] * 3])


@pytest.mark.parametrize("rewards", [[], [1.0], [0.0, 0.0, 0.0], [0.1 + 0.2, 0.3]])
def test_a_group_without_variance_teaches_nothing(rewards: list[float]) -> None:
    assert losses.advantages(rewards) is None
