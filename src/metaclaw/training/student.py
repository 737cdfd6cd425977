"""The model that learns: the frozen base with a LoRA on the upper layers, its loss, and its checkpoint.

A step is a set of examples. Those that begin alike are run together; gradients add up over them, each term divided
by the weight of the whole step, so that the sum is one token-weighted mean. Nothing here draws a random number
after the adapter was initialised, hence a resumed run repeats an uninterrupted one.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaclaw.errors import TrainingError
from metaclaw.training import losses
from metaclaw.training.examples import Batch, Example, alike, batch
from metaclaw.training.features import Features, reply_states, resume
from metaclaw.training.gguf import MODULES
from metaclaw.training.model import run_layers
from metaclaw.training.recipe import TrainJob

ROWS_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class StepReport:
    """`loss` is what was minimised, `kl_to_base` the mean divergence in nats on replayed tokens (None without any)."""

    loss: float
    kl_to_base: float | None
    tokens: int


def first_adapted_layer(layers: int, adapted_share: float) -> int:
    return layers - max(1, round(layers * adapted_share))


class Student:
    """Owns the adapter and its optimiser. `model` must be frozen; it is wrapped in place."""

    def __init__(self, model: Any, job: TrainJob) -> None:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(job.seed)
        layers = len(model.model.layers)
        self._job = job
        self._first_layer = first_adapted_layer(layers, job.adapted_share)
        config = LoraConfig(
            r=job.rank,
            lora_alpha=job.alpha,
            lora_dropout=0.0,
            target_modules=[path.rsplit(".", 1)[1] for path in MODULES],
            layers_to_transform=list(range(self._first_layer, layers)),
            layers_pattern="layers",
            task_type="CAUSAL_LM",
        )
        self._peft = get_peft_model(model, config)
        self._peft.peft_config["default"].base_model_name_or_path = job.base_model
        self._model = model
        self.parameters = {name: p for name, p in self._peft.named_parameters() if p.requires_grad}
        self._optimiser = torch.optim.AdamW(self.parameters.values(), lr=0.0, weight_decay=0.0)

    def step(
        self,
        examples: Sequence[Example],
        members: Sequence[int],
        features: Features,
        learning_rate: float,
        between: Callable[[], None],
    ) -> StepReport:
        """One update from these examples. `between` may raise; the step then has changed nothing but gradients."""
        self._optimiser.zero_grad(set_to_none=True)
        weight = sum(self._weight(examples[index]) * len(examples[index].reply) for index in members)
        loss, divergences = 0.0, []
        for group in alike(examples, members, ROWS_AT_ONCE):
            between()
            part, seen = self._part(examples, batch(examples, group), features)
            torch.autograd.backward(part / max(weight, 1e-9))
            loss += part.item() / max(weight, 1e-9)
            divergences += seen
        self._update(learning_rate)
        kl = torch.cat(divergences).mean().item() if divergences else None
        return StepReport(loss, kl, sum(examples[index].tokens for index in members))

    def _part(self, examples: Sequence[Example], rows: Batch, features: Features) -> tuple[Tensor, list[Tensor]]:
        """Sum of the weighted losses of these rows, and the divergences (N,) from the base on replayed ones."""
        decoder = self._model.model
        _, rows_BTD = run_layers(decoder, *resume(features, rows), self._first_layer, len(decoder.layers))
        states = reply_states(rows_BTD, rows)
        logits = self._model.lm_head(decoder.norm(torch.cat(states))).split([len(state) for state in states])
        total, divergences = torch.zeros(()), []
        for member, logits_NV in zip(rows.members, logits, strict=True):
            example = examples[member]
            loss_N = self._loss(example, logits_NV, features.teacher_NK[member], features.teacher_ids_NK[member])
            total = total + self._weight(example) * loss_N.sum()
            if example.replay:
                divergences.append(loss_N.detach())
        return total, divergences

    def _loss(self, example: Example, logits_NV: Tensor, teacher_NK: Tensor | None, ids_NK: Tensor | None) -> Tensor:
        """Loss of each token of the reply, (N,)."""
        targets_N = torch.tensor(example.reply)
        if teacher_NK is None or ids_NK is None:
            return losses.cross_entropy(logits_NV, targets_N)
        student_NK = losses.pick(logits_NV, ids_NK)
        if example.replay:
            return losses.forward_kl(teacher_NK, student_NK)
        divergence = losses.forward_kl if self._job.kl == "forward" else losses.reverse_kl
        loss_N = divergence(teacher_NK, student_NK)
        if self._job.reply_weight:
            loss_N = loss_N + self._job.reply_weight * losses.cross_entropy(logits_NV, targets_N)
        return loss_N

    def _weight(self, example: Example) -> float:
        return example.weight * (self._job.replay_weight if example.replay else 1.0)

    def _update(self, learning_rate: float) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._job.clip_norm)
        if not math.isfinite(norm.item()):
            raise TrainingError("the gradient is not finite: lower the learning rate, or train in float32")
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self._optimiser.step()

    def save_adapter(self, folder: Path) -> None:
        """In PEFT's format, whole or not at all."""
        unfinished = folder.with_name(folder.name + ".unfinished")
        self._peft.save_pretrained(unfinished, save_embedding_layers=False)
        (unfinished / "README.md").unlink(missing_ok=True)  # a template of PEFT's that says nothing
        unfinished.rename(folder)

    def checkpoint(self, path: Path, progress: dict[str, Any]) -> None:
        """Adapter, optimiser, random state and `progress`; durable, whole or not at all."""
        state = {
            "adapter": {name: p.detach() for name, p in self.parameters.items()},
            "optimiser": self._optimiser.state_dict(),
            "random": torch.get_rng_state(),
            "progress": progress,
        }
        unfinished = path.with_name(path.name + ".unfinished")
        with unfinished.open("wb") as file:
            torch.save(state, file)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)

    def restore(self, path: Path) -> dict[str, Any]:
        """Take up the checkpoint and return its progress. Raises `TrainingError` when it is of another adapter."""
        state = torch.load(path, weights_only=True)
        if {n: p.shape for n, p in state["adapter"].items()} != {n: p.shape for n, p in self.parameters.items()}:
            raise TrainingError("the checkpoint belongs to an adapter of another shape: delete it to start again")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state["adapter"][name])
        self._optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        progress: dict[str, Any] = state["progress"]
        return progress
