"""The trainer as its parent sees it: a process with a job folder, a pipe to its stdin and JSON lines."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from metaclaw.errors import TrainingError
from metaclaw.training.process import SHORT_SPIN
from metaclaw.training.recipe import read_job, read_rows
from metaclaw.training.scoring import CheckOrJudge
from metaclaw.training.trainer import INTERRUPTED, ORPHANED, tokenise

TOLERANCE = 1e-6
"""Largest difference of any weight between a resumed run and an uninterrupted one."""
STEPS = 8
END_SECONDS = 120.0

Events = list[dict[str, Any]]

SYSTEM = {"role": "system", "content": "Answer briefly."}


def row(number: int, split: str) -> dict[str, Any]:
    messages = [SYSTEM, {"role": "user", "content": f"Name the note number {number}."}]
    skilled = [{"role": "system", "content": f"{SYSTEM['content']} Notes are named note-NUMBER."}, messages[1]]
    return {
        "id": str(number), "split": split, "messages": messages, "reply": f"note-{number}",
        "teacher_messages": skilled if split == "train" else None, "weight": 1.0,
    }


def write_job(folder: Path, gguf: Path, model: Path, **settings: Any) -> Path:
    folder.mkdir()
    job = {"model_dir": str(model), "base_gguf": str(gguf), "base_model": "smollm2-135m", "dtype": "float32",
           "rank": 4, "adapted_share": 0.1, "batch_size": 3, "epochs": 4, "checkpoint_every_seconds": 0}
    (folder / "job.json").write_text(json.dumps(job | settings))
    rows = [row(number, "replay" if number % 3 == 0 else "train") for number in range(6)]
    (folder / "dataset.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def start(folder: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "metaclaw.training.trainer", str(folder)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=os.environ | SHORT_SPIN)


def events(process: subprocess.Popen[bytes]) -> Iterator[dict[str, Any]]:
    assert process.stdout
    for line in process.stdout:
        yield json.loads(line)


def wait_for(process: subprocess.Popen[bytes], event: str, **facts: Any) -> dict[str, Any]:
    wanted = {"event": event, **facts}
    return next(said for said in events(process) if wanted.items() <= said.items())


def code_of(process: subprocess.Popen[bytes]) -> int:
    """Read to the end and wait, with stdin open until then: closing it would end the trainer."""
    with process:
        for _ in events(process):
            pass
        return process.wait(END_SECONDS)


def run_to_the_end(folder: Path) -> Events:
    process = start(folder)
    said = list(events(process))
    assert code_of(process) == 0, said[-1]
    return said


def phases(said: Events) -> set[str]:
    return {event["phase"] for event in said if event["event"] == "phase"}


def steps(said: Events) -> list[int]:
    return [event["step"] for event in said if event["event"] == "step"]


def adapter(folder: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return dict(load_file(folder / "adapter" / "adapter_model.safetensors"))


def difference(one: dict[str, Any], other: dict[str, Any]) -> float:
    assert one.keys() == other.keys()
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


@pytest.fixture(scope="module")
def uninterrupted(
    tmp_path_factory: pytest.TempPathFactory, smollm2_gguf: Path, smollm2_folder: Path
) -> tuple[Path, Events]:
    """The folder of a job that nobody disturbed, and what it said."""
    folder = write_job(tmp_path_factory.mktemp("jobs") / "whole", smollm2_gguf, smollm2_folder)
    return folder, run_to_the_end(folder)


def test_an_unknown_setting_is_named(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", tmp_path / "base.gguf", tmp_path, learning_speed=1)
    with pytest.raises(TrainingError, match="learning_speed"):
        read_job(job)


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    job = write_job(tmp_path / "job", tmp_path / "base.gguf", tmp_path)
    with (job / "dataset.jsonl").open("a") as file:
        file.write('\n{"id": 7}')
    with pytest.raises(TrainingError, match="line 7"):
        read_rows(job)


class Letters:
    """In place of a tokenizer: each letter is a token, and its chat template puts strings together."""

    eos_token_id = 0

    def __call__(self, text: str, **_: Any) -> dict[str, list[int]]:
        return {"input_ids": [*map(ord, text)]}

    def apply_chat_template(self, messages: list[dict[str, Any]], **_: Any) -> str:
        return "".join("> " + message["content"] for message in messages)


def test_what_the_chat_template_refuses_is_left_out_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = write_job(tmp_path / "job", tmp_path / "base.gguf", tmp_path)
    settings, rows = read_job(job), [row(number, "train") for number in range(3)]
    rows[1]["messages"][-1]["content"] = [{"type": "text", "text": "Name it."}]
    (job / "dataset.jsonl").write_text("\n".join(map(json.dumps, rows)))
    examples = tokenise(settings, job, Letters(), CheckOrJudge(settings))
    assert [example.id for example in examples] == ["0", "2"]
    assert json.loads(capsys.readouterr().out)["refused_by_template"] == 1
    (job / "dataset.jsonl").write_text(json.dumps(rows[1]))
    with pytest.raises(TrainingError, match="refuses every example"):
        tokenise(settings, job, Letters(), CheckOrJudge(settings))


@pytest.mark.model
def test_a_missing_model_is_one_error_event(tmp_path: Path) -> None:
    process = start(write_job(tmp_path / "job", tmp_path / "base.gguf", tmp_path))
    said = list(events(process))
    assert code_of(process) == 1
    assert [event["event"] for event in said].count("error") == 1
    assert "prepared" in said[-1]["message"]


@pytest.mark.model
def test_a_job_becomes_an_adapter_in_both_formats(uninterrupted: tuple[Path, Events]) -> None:
    folder, said = uninterrupted
    losses = [event["loss"] for event in said if event["event"] == "step"]
    assert steps(said) == list(range(1, STEPS + 1))
    assert sum(losses[-2:]) < sum(losses[:2])  # the last epoch against the first, of two steps each
    assert said[-1]["event"] == "done"
    assert json.loads((folder / "result.json").read_text())["steps"] == STEPS
    assert {path.name for path in folder.iterdir()} == {
        "adapter", "adapter.gguf", "dataset.jsonl", "job.json", "result.json",
    }
    config = json.loads((folder / "adapter" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "smollm2-135m"
    assert any(np.abs(values).max() > 0 for name, values in adapter(folder).items() if "lora_B" in name)


@pytest.mark.model
def test_a_killed_run_goes_on_to_the_same_adapter(
    tmp_path: Path, smollm2_gguf: Path, smollm2_folder: Path, uninterrupted: tuple[Path, Events]
) -> None:
    cut = write_job(tmp_path / "cut", smollm2_gguf, smollm2_folder)
    process = start(cut)
    wait_for(process, "checkpoint", step=3)
    process.kill()
    assert code_of(process) < 0
    assert not (cut / "adapter").exists()

    said = run_to_the_end(cut)
    assert "resumed" in phases(said)
    assert "teacher" not in phases(said)  # the features of the first run serve the second
    assert steps(said)[0] > 3
    assert steps(said)[-1] == STEPS
    assert difference(adapter(uninterrupted[0]), adapter(cut)) <= TOLERANCE


@pytest.mark.model
def test_asked_to_stop_it_keeps_its_place(tmp_path: Path, smollm2_gguf: Path, smollm2_folder: Path) -> None:
    job = write_job(tmp_path / "job", smollm2_gguf, smollm2_folder, epochs=1000, checkpoint_every_seconds=1e6)
    process = start(job)
    wait_for(process, "step", step=2)
    process.terminate()
    kept = wait_for(process, "checkpoint")["step"]
    assert kept >= 2
    assert code_of(process) == INTERRUPTED

    process = start(job)
    assert wait_for(process, "step")["step"] == kept + 1
    process.kill()
    code_of(process)


@pytest.mark.model
def test_it_ends_when_its_stdin_does(tmp_path: Path, smollm2_gguf: Path, smollm2_folder: Path) -> None:
    process = start(write_job(tmp_path / "job", smollm2_gguf, smollm2_folder, epochs=1000))
    wait_for(process, "phase", phase="loading")
    assert process.stdin
    process.stdin.close()
    assert code_of(process) == ORPHANED
