"""The student's own samples: what is recorded of them is what the model says of them."""

from __future__ import annotations

from collections import Counter

import pytest
import torch

from metaclaw.training.sampling import sample
from tiny import END, WORDS, tiny_model

PROMPTS = [(1, 5, 9), (1, 4, 4, 8, 2, 7), (3,)]


def test_the_recorded_probabilities_are_those_of_a_plain_pass() -> None:
    """Although prompts of different lengths are padded to one, and their samples share what was computed of them."""
    model = tiny_model()
    drawn = sample(model, PROMPTS, each=3, limit=7, end=END, seed=5)
    assert [len(group) for group in drawn] == [3, 3, 3]
    for prompt, group in zip(PROMPTS, drawn, strict=True):
        for one in group:
            logits = model(torch.tensor([[*prompt, *one.tokens]])).logits[0, len(prompt) - 1 : -1]
            said = logits.log_softmax(-1).gather(-1, torch.tensor(one.tokens)[:, None])[:, 0]
            torch.testing.assert_close(torch.tensor(one.logprobs), said, atol=1e-5, rtol=0)
            assert END not in one.tokens[:-1]
            assert one.tokens[-1] == END or len(one.tokens) == 7


def test_one_seed_draws_one_set_of_samples() -> None:
    model = tiny_model()
    again = [sample(model, PROMPTS, each=2, limit=5, end=END, seed=seed) for seed in (3, 3, 4)]
    assert again[0] == again[1] != again[2]


def test_many_prompts_come_back_in_their_order() -> None:
    model = tiny_model()
    prompts = [(1, 2 + number % 5, *[6] * (number % 4)) for number in range(19)]
    drawn = sample(model, prompts, each=1, limit=1, end=END, seed=1)
    for prompt, [one] in zip(prompts, drawn, strict=True):
        said = model(torch.tensor([prompt])).logits[0, -1].log_softmax(-1)
        assert one.logprobs[0] == pytest.approx(said[one.tokens[0]].item(), abs=1e-5)


def test_nothing_is_cut_from_the_distribution() -> None:
    """2,000 draws of one token agree with the model's probabilities: a chi-square test at one in a million."""
    model = tiny_model()
    chances = model(torch.tensor([PROMPTS[0]])).logits[0, -1].softmax(-1)
    [group] = sample(model, PROMPTS[:1], each=2_000, limit=1, end=END, seed=11)
    seen = Counter(one.tokens[0] for one in group)
    distance = sum((seen[word] - 2_000 * p) ** 2 / (2_000 * p) for word, p in enumerate(chances.tolist()))
    assert distance < 78  # 23 degrees of freedom
    assert len(seen) > WORDS / 2
