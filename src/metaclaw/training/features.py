"""What never changes during a job, computed once and kept in the job's folder: `features.safetensors`.

For each example the hidden states that enter the first adapted layer (the student resumes from there at every step),
and what a teacher says of each position of the reply. The teacher is the base model itself: with the skills in its
context for practice, on the plain prompt for replay. Where nothing is replayed, the base on the plain prompt is kept
as well: the log then tells the student's distance from it on what it practises.

The same is computed, and not kept, for the replies that the student samples on its way.
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
from metaclaw.training.objectives import Taught

ROWS_AT_ONCE = 8
PARTS = ("top_NK", "ids_NK", "said_N")

Report = Callable[[int, int], None]
"""Called with examples done and examples in all."""


@dataclass(frozen=True, slots=True)
class Features:
    """Indexed like the examples. T: tokens of prompt and reply but the last."""

    hidden_TD: list[Tensor]
    taught: list[Taught | None]
    base: list[Taught | None]

    @classmethod
    def empty(cls, count: int) -> Features:
        return cls([torch.empty(0)] * count, [None] * count, [None] * count)

    def of(self, members: Sequence[int]) -> Features:
        return Features(
            [self.hidden_TD[i] for i in members], [self.taught[i] for i in members], [self.base[i] for i in members]
        )

    def and_(self, more: Features) -> Features:
        return Features(self.hidden_TD + more.hidden_TD, self.taught + more.taught, self.base + more.base)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to compute, beside the hidden states and the teacher of what is replayed."""

    first_layer: int
    top_k: int
    taught: bool
    """Whether practice has the base with skills for its teacher."""
    base: bool


def compute(
    model: Any, examples: Sequence[Example], members: Sequence[int], wanted: Wanted, on: Report = lambda *_: None
) -> Features:
    """Run the frozen model (without adapter) over these of the examples; the others stay empty."""
    taught = [
        i for i in members
        if (e := examples[i]).teacher_prompt and (e.replay or (wanted.taught and e.kind != "query"))
    ]
    total, done = len(members) + len(taught), 0
    features = Features.empty(len(examples))
    with torch.no_grad():
        for some in alike(examples, members, ROWS_AT_ONCE):
            _keep_hidden(model, batch(examples, some), wanted, features)
            on(done := done + len(some), total)
        for some in alike(examples, taught, ROWS_AT_ONCE, teacher=True):
            _keep_teacher(model, batch(examples, some, teacher=True), wanted.top_k, features)
            on(done := done + len(some), total)
    return features


def _keep_hidden(model: Any, rows: Batch, wanted: Wanted, features: Features) -> None:
    decoder = model.model
    prefix_1PD, rows_BTD = run_layers(decoder, *embed(decoder, rows), 0, wanted.first_layer)
    for at, member in enumerate(rows.members):
        own_TD = rows_BTD[at, : len(rows.rows[at])]
        features.hidden_TD[member] = torch.cat([prefix_1PD[0], own_TD])
    if wanted.base:
        _, rows_BTD = run_layers(decoder, prefix_1PD, rows_BTD, wanted.first_layer, len(decoder.layers))
        _tell(model, rows, rows_BTD, wanted.top_k, features.base)


def _keep_teacher(model: Any, rows: Batch, top_k: int, features: Features) -> None:
    decoder = model.model
    _, rows_BTD = run_layers(decoder, *embed(decoder, rows), 0, len(decoder.layers))
    _tell(model, rows, rows_BTD, top_k, features.taught)


def _tell(model: Any, rows: Batch, rows_BTD: Tensor, top_k: int, into: list[Taught | None]) -> None:
    for member, own_ND, reply in zip(rows.members, reply_states(rows_BTD, rows), rows.replies, strict=True):
        logits_NV = model.lm_head(model.model.norm(own_ND))
        into[member] = Taught(
            *losses.top_k(logits_NV, top_k), losses.pick(logits_NV, torch.tensor(reply)[:, None])[:, 0]
        )


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

    tensors = {f"hidden.{i}": hidden for i, hidden in enumerate(features.hidden_TD) if len(hidden)}
    for column in ("taught", "base"):
        for i, told in enumerate(getattr(features, column)):
            if told is not None:
                tensors |= {f"{column}.{part}.{i}": getattr(told, part) for part in PARTS}
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
        kept = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping

    def told(column: str, i: int) -> Taught | None:
        return Taught(*(kept[f"{column}.{part}.{i}"] for part in PARTS)) if f"{column}.top_NK.{i}" in kept else None

    columns = [[told(column, i) for i in range(count)] for column in ("taught", "base")]
    return Features([kept.get(f"hidden.{i}", torch.empty(0)) for i in range(count)], *columns)
