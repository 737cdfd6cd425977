"""The backend `local`: the model that learns in this process, the frozen base with a LoRA on the upper layers.

A step is a set of examples. Those that begin alike are run together; gradients add up over them, each term divided
by the weight of the whole step, so that the sum is one token-weighted mean. Nothing here draws a random number
after the adapter was initialised, hence a resumed run repeats an uninterrupted one. What a token costs is said in
`objectives`.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metaclaw.errors import TrainingError
from metaclaw.training import features as kept
from metaclaw.training import losses, objectives, sampling
from metaclaw.training.backend import Between, StepReport
from metaclaw.training.examples import Batch, Example, Ids, alike, batch
from metaclaw.training.features import Features, Report, Wanted, reply_states, resume
from metaclaw.training.gguf import MODULES
from metaclaw.training.model import run_layers
from metaclaw.training.recipe import TrainJob
from metaclaw.types import Sampled

ROWS_AT_ONCE = 8
CHECKPOINT = "checkpoint.pt"


def first_adapted_layer(layers: int, adapted_share: float) -> int:
    return layers - max(1, round(layers * adapted_share))


class Student:
    """Owns the adapter and its optimiser. `model` must be frozen; it is wrapped in place. `end` ends its replies.
    Where `tells_base`, the base's opinion of everything is kept, for the log.
    """

    def __init__(self, model: Any, job: TrainJob, end: int, *, tells_base: bool) -> None:
        from peft import LoraConfig, get_peft_model

        torch.manual_seed(job.seed)
        layers = len(model.model.layers)
        self._job = job
        self._end = end
        self._first_layer = first_adapted_layer(layers, job.adapted_share)
        self._wanted = Wanted(self._first_layer, job.top_k, taught=job.objective == "distill", base=tells_base)
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
        self._best: dict[str, Tensor] | None = None

    def look(
        self, examples: Sequence[Example], members: Sequence[int], on: Report = lambda *_: None
    ) -> Features:
        with self.as_base():
            return kept.compute(self._model, examples, members, self._wanted, on)

    def sample(self, prompts: Sequence[Ids], *, each: int, limit: int, seed: int) -> list[list[Sampled]]:
        return sampling.sample(self._model, prompts, each=each, limit=limit, end=self._end, seed=seed)

    def forward_backward(self, examples: Sequence[Example], features: Features, between: Between) -> StepReport:
        self._optimiser.zero_grad(set_to_none=True)
        weight = sum(self._weight(example) * len(example.reply) for example in examples)
        loss, divergences = 0.0, []
        for group in alike(examples, range(len(examples)), ROWS_AT_ONCE):
            between()
            part, seen = self._part(examples, batch(examples, group), features)
            torch.autograd.backward(part / max(weight, 1e-9))
            loss += part.item() / max(weight, 1e-9)
            divergences += seen
        return StepReport(loss, torch.cat(divergences).mean().item(), sum(example.tokens for example in examples))

    def mean_loss(self, examples: Sequence[Example], members: Sequence[int], features: Features) -> float:
        total, tokens = 0.0, 0
        with torch.no_grad():
            for group in alike(examples, members, ROWS_AT_ONCE):
                rows = batch(examples, group)
                for member, logits_NV in zip(group, self._logits(rows, features), strict=True):
                    total += losses.cross_entropy(logits_NV, torch.tensor(examples[member].reply)).sum().item()
                    tokens += len(examples[member].reply)
        return total / tokens

    def _part(self, examples: Sequence[Example], rows: Batch, features: Features) -> tuple[Tensor, list[Tensor]]:
        """Sum of the weighted losses of these rows, and their divergences (N,) from the base where they are known."""
        total, divergences = torch.zeros(()), []
        for member, logits_NV in zip(rows.members, self._logits(rows, features), strict=True):
            example, base = examples[member], features.base[member]
            cost_N = objectives.cost(self._job, example, logits_NV, features.taught[member])
            total = total + self._weight(example) * cost_N.sum()
            if example.replay:
                divergences.append(cost_N.detach())
            elif base is not None:
                divergences.append(objectives.drift(logits_NV, base))
        return total, divergences

    def _logits(self, rows: Batch, features: Features) -> Sequence[Tensor]:
        """Of the replies' positions, (N, V) for each row."""
        decoder = self._model.model
        _, rows_BTD = run_layers(decoder, *resume(features, rows), self._first_layer, len(decoder.layers))
        states = reply_states(rows_BTD, rows)
        logits: Tensor = self._model.lm_head(decoder.norm(torch.cat(states)))
        return torch.split(logits, [len(state) for state in states])

    def _weight(self, example: Example) -> float:
        return example.weight * (self._job.replay_weight if example.replay else 1.0)

    def optim_step(self, learning_rate: float) -> None:
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self._job.clip_norm)
        if not math.isfinite(norm.item()):
            raise TrainingError("the gradient is not finite: lower the learning rate, or train in float32")
        for group in self._optimiser.param_groups:
            group["lr"] = learning_rate
        self._optimiser.step()

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Without what was learned, for as long as the block lasts."""
        with self._peft.disable_adapter():
            yield

    def adapter(self) -> dict[str, Tensor]:
        """A copy of what was learned so far."""
        return {name: p.detach().clone() for name, p in self.parameters.items()}

    def take(self, adapter: dict[str, Tensor]) -> None:
        """Be what `adapter` says. Raises `TrainingError` where it has another shape."""
        if {name: p.shape for name, p in adapter.items()} != {name: p.shape for name, p in self.parameters.items()}:
            raise TrainingError("the checkpoint belongs to an adapter of another shape: delete it to start again")
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(adapter[name])

    def save_adapter(self, folder: Path) -> None:
        unfinished = folder.with_name(folder.name + ".unfinished")
        self._peft.save_pretrained(unfinished, save_embedding_layers=False)
        (unfinished / "README.md").unlink(missing_ok=True)  # a template of PEFT's that says nothing
        unfinished.rename(folder)

    def keep_best(self) -> None:
        self._best = self.adapter()

    def take_best(self) -> None:
        if self._best is not None:
            self.take(self._best)

    def checkpoint(self, folder: Path, progress: dict[str, Any]) -> None:
        """Adapter, optimiser, random state, `progress` and the best adapter so far; durable, whole or not at all."""
        path = folder / CHECKPOINT
        state = {
            "adapter": {name: p.detach() for name, p in self.parameters.items()},
            "best": self._best,
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

    def restore(self, folder: Path) -> dict[str, Any] | None:
        """Raises `TrainingError` where the checkpoint has another shape."""
        path = folder / CHECKPOINT
        if not path.exists():
            return None
        state = torch.load(path, weights_only=True)
        self.take(state["adapter"])
        self._optimiser.load_state_dict(state["optimiser"])
        torch.set_rng_state(state["random"])
        self._best = state.get("best")  # one of an earlier version has none
        found: dict[str, Any] = state["progress"]
        return found
