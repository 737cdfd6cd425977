"""The backend `tinker`: the model learns on another machine, behind the Tinker API; here is the loop that says how.

A step is `forward_backward` once for each loss that its rows need, their gradients adding up on the server, then
`optim_step`. A checkpoint stays on the server, weights and optimiser; `checkpoint.json` says under which name. In the
end the adapter is downloaded. The server knows only token ids: the tokenizer, and so the chat template, is the
embedded model's.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from metaclaw.errors import TrainingError
from metaclaw.training.backend import Between, StepReport
from metaclaw.training.examples import Example, Ids
from metaclaw.training.features import Features, Report
from metaclaw.training.objectives import Taught
from metaclaw.training.recipe import Endpoint, TrainJob
from metaclaw.training.tinker_rows import TokenRow, drift, needs_teacher, row_of
from metaclaw.training.tinker_service import Service
from metaclaw.types import Sampled

CHECKPOINT = "checkpoint.json"
KEPT_SECONDS = 30 * 24 * 3600
"""Afterwards a server may throw our checkpoints away."""
BETAS, EPSILON = (0.9, 0.999), 1e-8  # as with `local`


class TinkerStudent:
    """`end` is the token that ends a reply. `between` is called where one waits and nothing has to be whole."""

    def __init__(self, job: TrainJob, endpoint: Endpoint, end: int, service: Service, between: Between) -> None:
        self._job = job
        self._end = end
        self._service = service
        self._between = between
        # A server of one's own is SkyRL's. It divides the loss of a row by the sum of the row's weights, the prompt
        # included where none are given; the cloud service adds up, and knows no weights beside advantages.
        self._weighs_all = bool(endpoint.url)
        service.require(endpoint.model, between)
        self._learner = service.call(
            between, service.client.create_lora_training_client,
            base_model=endpoint.model, rank=job.rank, seed=job.seed, train_unembed=False,
        )
        self._base = service.call(between, service.client.create_sampling_client, base_model=endpoint.model)
        self._best: str | None = None

    def look(
        self, examples: Sequence[Example], members: Sequence[int], on: Report = lambda *_: None
    ) -> Features:
        features = Features.empty(len(examples))
        asked = [member for member in members if needs_teacher(self._job, examples[member])]
        futures = [
            self._base.compute_logprobs(self._input((one.teacher_prompt or ()) + one.reply))
            for one in (examples[member] for member in asked)
        ]
        for done, (member, future) in enumerate(zip(asked, futures, strict=True), start=1):
            features.taught[member] = _taught(self._service.wait(future, self._between)[-len(examples[member].reply) :])
            on(done, len(asked))
        return features

    def sample(self, prompts: Sequence[Ids], *, each: int, limit: int, seed: int) -> list[list[Sampled]]:
        sampler = self._service.call(self._between, self._learner.save_weights_and_get_sampling_client)
        futures = [
            sampler.sample(
                prompt=self._input(prompt),
                num_samples=each,
                sampling_params=self._service.types.SamplingParams(
                    max_tokens=limit, temperature=1.0, seed=(seed + at * each) % 2**31, stop=[self._end]
                ),
            )
            for at, prompt in enumerate(prompts)
        ]
        return [[_sampled(one) for one in self._service.wait(future, self._between).sequences] for future in futures]

    def forward_backward(self, examples: Sequence[Example], features: Features, between: Between) -> StepReport:
        between()
        rows = [row_of(self._job, *pair) for pair in zip(examples, features.taught, strict=True)]
        futures = [(some, self._ask(self._learner.forward_backward, [rows[at] for at in some]))
                   for some in _by_loss(rows)]
        loss, weight, drifts = 0.0, 0.0, list[float]()
        for some, future in futures:
            for at, now in zip(some, self._said(future, [rows[at] for at in some], between), strict=True):
                loss += rows[at].cost(self._job, now)
                weight += examples[at].weight * len(now)
                told = features.taught[at]
                if examples[at].replay and told is not None:
                    drifts += map(drift, told.said_N.tolist(), now)
        apart = sum(drifts) / max(1, len(drifts))
        return StepReport(loss / max(weight, 1e-9), apart, sum(example.tokens for example in examples))

    def optim_step(self, learning_rate: float) -> None:
        self._service.wait(
            self._learner.optim_step(
                self._service.types.AdamParams(
                    learning_rate=learning_rate, beta1=BETAS[0], beta2=BETAS[1], eps=EPSILON,
                    grad_clip_norm=self._job.clip_norm,
                )
            )
        )

    def mean_loss(self, examples: Sequence[Example], members: Sequence[int], features: Features) -> float:
        rows = [TokenRow("cross_entropy", one.prompt, one.reply, (1.0,) * len(one.reply))
                for one in (examples[member] for member in members)]
        said = self._said(self._ask(self._learner.forward, rows), rows, self._between)
        return -sum(map(sum, said)) / sum(map(len, said))

    def keep_best(self) -> None:
        self._best = self._save()

    def take_best(self) -> None:
        if self._best is not None:
            self._service.wait(self._learner.load_state(self._best))

    def checkpoint(self, folder: Path, progress: dict[str, Any]) -> None:
        state = {"state": self._save(), "best": self._best, "progress": progress}
        unfinished = folder / f"{CHECKPOINT}.unfinished"
        unfinished.write_text(json.dumps(state), encoding="utf-8")
        unfinished.replace(folder / CHECKPOINT)

    def restore(self, folder: Path) -> dict[str, Any] | None:
        try:
            kept = json.loads((folder / CHECKPOINT).read_bytes())
        except FileNotFoundError:
            return None
        self._service.wait(self._learner.load_state_with_optimizer(kept["state"]))
        self._best = kept["best"]
        found: dict[str, Any] = kept["progress"]
        return found

    def save_adapter(self, folder: Path) -> None:
        path = self._service.wait(self._learner.save_weights_for_sampler(_name(), ttl_seconds=KEPT_SECONDS)).path
        unfinished = folder.with_name(folder.name + ".unfinished")
        unfinished.mkdir()
        self._service.fetch_adapter(path, self._job.base_model, unfinished)
        unfinished.rename(folder)

    def _save(self) -> str:
        return str(self._service.wait(self._learner.save_state(_name(), ttl_seconds=KEPT_SECONDS)).path)

    def _input(self, ids: Ids) -> Any:
        return self._service.types.ModelInput.from_ints(list(ids))

    def _ask(self, what: Callable[..., Any], rows: Sequence[TokenRow]) -> Any:
        """A future of what the server says of rows that have one loss."""
        clip = {"clip_low_threshold": 1 - self._job.policy_clip, "clip_high_threshold": 1 + self._job.policy_clip}
        config = clip if rows[0].loss == "ppo" else None
        return what([self._datum(row) for row in rows], rows[0].loss, loss_fn_config=config)

    def _datum(self, row: TokenRow) -> Any:
        inputs: dict[str, Any] = {"target_tokens": list(row.ids[1:])}
        if row.loss == "cross_entropy":
            inputs["weights"] = row.over_prompt(row.worth)
        else:
            inputs |= {"advantages": row.over_prompt(row.worth), "logprobs": row.over_prompt(row.logprobs)}
            if self._weighs_all:
                inputs["weights"] = row.over_prompt((1.0,) * len(row.reply))
        return self._service.types.Datum(model_input=self._input(row.ids[:-1]), loss_fn_inputs=inputs)

    def _said(self, future: Any, rows: Sequence[TokenRow], between: Between) -> list[list[float]]:
        """The log-probabilities of the replies, from before the step."""
        told = [list(map(float, one["logprobs"].data)) for one in self._service.wait(future, between).loss_fn_outputs]
        said = [one[-len(row.reply) :] for one, row in zip(told, rows, strict=True)]
        if not all(map(math.isfinite, (value for one in said for value in one))):
            raise TrainingError("the loss is not finite: lower the learning rate")
        return said


def _by_loss(rows: Sequence[TokenRow]) -> list[list[int]]:
    losses: dict[str, list[int]] = {}
    for at, row in enumerate(rows):
        losses.setdefault(row.loss, []).append(at)
    return list(losses.values())


def _taught(said: Sequence[float | None]) -> Taught:
    """Only how likely the teacher finds the reply: the API does not tell what else it would have said."""
    if None in said:
        raise TrainingError("The server tells no log-probabilities of prompts.")
    nothing = torch.empty(len(said), 0)
    return Taught(nothing, nothing.long(), torch.tensor(said))


def _sampled(sequence: Any) -> Sampled:
    if not sequence.logprobs or len(sequence.logprobs) != len(sequence.tokens):
        raise TrainingError("The server samples without log-probabilities.")
    return Sampled(tuple(sequence.tokens), tuple(sequence.logprobs))


def _name() -> str:
    """Never twice the same: a job that was killed may come by here again."""
    return f"metaclaw-{uuid.uuid4().hex[:16]}"
