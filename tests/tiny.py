"""A causal model with random weights, so small that a training run takes less than a second, and examples for it."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from metaclaw.training.examples import Example, Kind
from metaclaw.training.own import OwnWords
from metaclaw.training.recipe import TrainJob
from metaclaw.training.run import Run
from metaclaw.training.student import Student

WORDS = 24
END = 0
LAYERS = 2


class Words:
    """In place of a tokenizer: each token is its number."""

    eos_token_id = END

    def decode(self, ids: Sequence[int], **_: Any) -> str:
        return " ".join(str(number) for number in ids if number != END)


class Scored:
    """Stands for check and judge: a sample is worth what `worth` says of its text."""

    def __init__(self, worth: Any) -> None:
        self.worth = worth

    def can(self, example: Example) -> bool:
        return True

    def scores(self, asked: Sequence[tuple[Example, str]]) -> list[float | None]:
        return [self.worth(text) for _, text in asked]


class Taught:
    """Stands for a stronger model: it always says one token."""

    def __init__(self, word: int) -> None:
        self.word = word

    def teach(self, said: Sequence[Example]) -> list[Any]:
        from metaclaw.training.objectives import Taught as Told

        told = []
        for example in said:
            count = len(example.reply)
            top_NK = torch.tensor([[0.97, 0.01]]).log().repeat(count, 1)
            told.append(Told(top_NK, torch.tensor([[self.word, END]]).repeat(count, 1), torch.zeros(count)))
        return told


def tiny_model() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=WORDS, hidden_size=16, intermediate_size=24, num_hidden_layers=LAYERS, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=128, tie_word_embeddings=True, initializer_range=0.3,
        bos_token_id=1, eos_token_id=END, pad_token_id=END,
    )
    return LlamaForCausalLM(config).requires_grad_(False).eval()


def example(number: int, kind: Kind = "proven", **changes: Any) -> Example:
    prompt = (1, 2 + number % 7, 9, 3 + number % 5)
    fields: dict[str, Any] = {
        "id": str(number), "kind": kind, "prompt": prompt, "teacher_prompt": (1, 20, 21, *prompt[1:]),
        "reply": (10 + number % 3, 11, 12, END), "weight": 1.0, "opening": "", "teacher_opening": "skilled",
    }
    if kind == "replay":
        fields |= {"teacher_prompt": prompt, "teacher_opening": ""}
    return Example(**(fields | changes))


def tiny_job(folder: Path, **changes: Any) -> TrainJob:
    fields: dict[str, Any] = {
        "model_dir": folder, "base_gguf": folder / "x", "base_model": "tiny", "dtype": "float32", "rank": 4,
        "adapted_share": 0.5, "epochs": 3, "batch_size": 3, "reply_tokens": 6, "learning_rate": 0.01, "threads": 1,
        "checkpoint_every_seconds": 0, "kl_budget": None, "top_k": 8,
    }
    return TrainJob(**(fields | changes))


def tiny_run(
    job: TrainJob, examples: list[Example], stop: threading.Event | None = None, *, scorer: Any = None,
    teacher: Any = None,
) -> Run:
    """As `trainer.train` puts it together, with a model of this size."""
    torch.set_num_threads(1)
    model = tiny_model()
    student = Student(model, job, END, tells_base=not any(one.replay for one in examples))
    kept = student.look(examples, range(len(examples)))
    own = OwnWords(job, Words(), student, scorer or Scored(lambda text: None), teacher)
    job.model_dir.mkdir(exist_ok=True)
    return Run(job, job.model_dir, student, own, examples, kept, stop or threading.Event())
