"""What never changes during a job, computed once and kept in the job's folder: `features.safetensors`.

For each example the hidden states that enter the first adapted layer (the student resumes from there at every step),
and the teacher's most likely next tokens at each position of the reply. The teacher is the base model itself:
with the skills in its context for practice, on the plain prompt for replay.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaclaw.training import losses
from metaclaw.training.examples import Batch, Example, alike, batch
from metaclaw.training.model import run_layers

ROWS_AT_ONCE = 8

Report = Callable[[int, int], None]
"""Called with examples done and examples in all."""


@dataclass(frozen=True, slots=True)
class Features:
    """Indexed like the examples. T: tokens of prompt and reply but the last; N: tokens of the reply."""

    hidden_TD: list[Tensor]
    teacher_NK: list[Tensor | None]
    teacher_ids_NK: list[Tensor | None]


def compute(model: Any, examples: Sequence[Example], first_layer: int, top_k: int, teach: bool, on: Report) -> Features:
    """Run the frozen model (without adapter) over all examples. With `teach` false only replay has a teacher."""
    taught = [i for i, e in enumerate(examples) if e.teacher_prompt and (teach or e.replay)]
    total, done = len(examples) + len(taught), 0
    features = Features([torch.empty(0)] * len(examples), [None] * len(examples), [None] * len(examples))
    with torch.no_grad():
        for members in alike(examples, range(len(examples)), ROWS_AT_ONCE):
            _keep_hidden(model, batch(examples, members), first_layer, features)
            on(done := done + len(members), total)
        for members in alike(examples, taught, ROWS_AT_ONCE, teacher=True):
            _keep_teacher(model, batch(examples, members, teacher=True), top_k, features)
            on(done := done + len(members), total)
    return features


def _keep_hidden(model: Any, rows: Batch, first_layer: int, features: Features) -> None:
    prefix_1PD, rows_BTD = run_layers(model.model, *embed(model.model, rows), 0, first_layer)
    for at, member in enumerate(rows.members):
        own_TD = rows_BTD[at, : len(rows.rows[at])]
        features.hidden_TD[member] = torch.cat([prefix_1PD[0], own_TD])


def _keep_teacher(model: Any, rows: Batch, top_k: int, features: Features) -> None:
    decoder = model.model
    _, rows_BTD = run_layers(decoder, *embed(decoder, rows), 0, len(decoder.layers))
    for member, own_ND in zip(rows.members, reply_states(rows_BTD, rows), strict=True):
        logits_NV = model.lm_head(decoder.norm(own_ND))
        features.teacher_NK[member], features.teacher_ids_NK[member] = losses.top_k(logits_NV, top_k)


def embed(decoder: Any, rows: Batch) -> tuple[Tensor, Tensor]:
    """Embeddings of the prefix (1, P, D) and of the rows (B, T, D), padded on the right with token 0."""
    ids_BT = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows.rows], batch_first=True)
    return decoder.embed_tokens(torch.tensor([rows.prefix])), decoder.embed_tokens(ids_BT)


def resume(features: Features, rows: Batch) -> tuple[Tensor, Tensor]:
    """As `embed`, from the kept hidden states."""
    hidden = [features.hidden_TD[member] for member in rows.members]
    shared = len(rows.prefix)
    return hidden[0][None, :shared], torch.nn.utils.rnn.pad_sequence([h[shared:] for h in hidden], batch_first=True)


def reply_states(rows_BTD: Tensor, rows: Batch) -> list[Tensor]:
    """For each row the states (N, D) that predict the tokens of its reply."""
    return [
        rows_BTD[at, len(row) - len(reply) : len(row)]
        for at, (row, reply) in enumerate(zip(rows.rows, rows.replies, strict=True))
    ]


def save(features: Features, path: Path, job_key: str) -> None:
    """Whole or not at all. `job_key` names what they were computed from."""
    from safetensors.torch import save_file

    tensors = {f"hidden.{i}": hidden for i, hidden in enumerate(features.hidden_TD)}
    for name, column in (("teacher", features.teacher_NK), ("ids", features.teacher_ids_NK)):
        tensors |= {f"{name}.{i}": kept for i, kept in enumerate(column) if kept is not None}
    unfinished = path.with_name(path.name + ".unfinished")
    save_file(tensors, unfinished, metadata={"job": job_key})
    unfinished.replace(path)


def load(path: Path, count: int, job_key: str) -> Features | None:
    """What `save` kept for the same job, else None."""
    from safetensors import safe_open

    if not path.exists():
        return None
    with safe_open(path, framework="pt") as file:
        if (file.metadata() or {}).get("job") != job_key:
            return None
        names = set(file.keys())
        kept = {name: file.get_tensor(name) for name in names}
    columns = [[kept.get(f"{name}.{i}") for i in range(count)] for name in ("teacher", "ids")]
    return Features([kept[f"hidden.{i}"] for i in range(count)], columns[0], columns[1])
