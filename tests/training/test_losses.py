"""The arithmetic against values worked out by hand."""

from __future__ import annotations

import math

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


def test_weighted_mean_divides_by_the_weight() -> None:
    mean = losses.weighted_mean(torch.tensor([1.0, 2.0, 9.0]), torch.tensor([1.0, 3.0, 0.0]))
    assert mean.item() == 7 / 4


def test_weighted_mean_of_nothing_is_zero() -> None:
    assert losses.weighted_mean(torch.tensor([5.0]), torch.tensor([0.0])).item() == 0.0
