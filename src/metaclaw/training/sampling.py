"""The student answers by itself: samples at temperature 1 with nothing cut, and their log-probabilities.

In: a causal model and prompts as token ids. Out: for each the tokens up to and including the one that ends the reply,
or up to the limit. The model is the one that learns, so its samples are on-policy when they are drawn; the same seed
draws the same ones again. Leaves it to others to decide what is learned from them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from metaclaw.training.examples import Ids
from metaclaw.types import Sampled

PROMPTS_AT_ONCE = 8


def sample(model: Any, prompts: Sequence[Ids], *, each: int, limit: int, end: int, seed: int) -> list[list[Sampled]]:
    """`each` samples of every prompt. The prompt is read once for all of its samples."""
    generator = torch.Generator().manual_seed(seed)
    order = sorted(range(len(prompts)), key=lambda index: (len(prompts[index]), index))
    drawn: dict[int, list[Sampled]] = {}
    with torch.no_grad():
        for at in range(0, len(order), PROMPTS_AT_ONCE):
            members = order[at : at + PROMPTS_AT_ONCE]
            found = _sample_together(model, [prompts[index] for index in members], each, limit, end, generator)
            drawn |= dict(zip(members, found, strict=True))
    return [drawn[index] for index in range(len(prompts))]


def _sample_together(
    model: Any, prompts: Sequence[Ids], each: int, limit: int, end: int, generator: torch.Generator
) -> list[list[Sampled]]:
    from transformers import DynamicCache

    longest = max(map(len, prompts))
    ids_BT = torch.tensor([(0,) * (longest - len(prompt)) + prompt for prompt in prompts])  # padded on the left
    mask_BT = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    positions_BT = (mask_BT.cumsum(-1) - 1).clamp_min(0)
    cache = DynamicCache(config=model.config)
    said = model(
        input_ids=ids_BT, attention_mask=mask_BT, position_ids=positions_BT, past_key_values=cache, use_cache=True,
        logits_to_keep=1,
    )
    cache.batch_repeat_interleave(each)
    logits_RV = said.logits[:, -1].repeat_interleave(each, dim=0)
    mask_RT, lengths_R = mask_BT.repeat_interleave(each, dim=0), mask_BT.sum(-1).repeat_interleave(each)
    rows = len(prompts) * each
    tokens: list[list[int]] = [[] for _ in range(rows)]
    logprobs: list[list[float]] = [[] for _ in range(rows)]
    open_rows = set(range(rows))
    for step in range(limit):
        logprobs_RV = logits_RV.float().log_softmax(-1)
        drawn_R1 = torch.multinomial(logprobs_RV.exp(), 1, generator=generator)
        told_R = logprobs_RV.gather(-1, drawn_R1)[:, 0].tolist()
        for row in sorted(open_rows):
            tokens[row].append(int(drawn_R1[row, 0]))
            logprobs[row].append(told_R[row])
            if tokens[row][-1] == end:
                open_rows.discard(row)
        if not open_rows or step == limit - 1:
            break
        mask_RT = torch.cat([mask_RT, torch.ones(rows, 1, dtype=mask_RT.dtype)], dim=1)
        said = model(
            input_ids=drawn_R1, attention_mask=mask_RT, position_ids=(lengths_R + step)[:, None],
            past_key_values=cache, use_cache=True,
        )
        logits_RV = said.logits[:, -1]
    found = [Sampled(tuple(ids), tuple(told)) for ids, told in zip(tokens, logprobs, strict=True)]
    return [found[at : at + each] for at in range(0, rows, each)]
