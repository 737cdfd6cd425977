"""The trainer against SkyRL's server of the Tinker API, with SmolLM2-135M on a processor: `make test-tinker`.

Slow (minutes, most of it compilation), so it runs apart from the other tests.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

PYTHON = os.environ.get("TINKER_PYTHON", "")
SERVER = Path(__file__).resolve().parent.parent / "scripts" / "tinker_server.py"
MODELS = Path("~/.metaclaw/models").expanduser()
pytestmark = pytest.mark.skipif(not PYTHON, reason="TINKER_PYTHON names no Python with SkyRL")

Events = list[dict[str, Any]]


@pytest.fixture(scope="module")
def gguf() -> Path:
    from metaclaw.serving.fetch import Silent
    from metaclaw.serving.weights import resolve

    return resolve("smollm2-135m", MODELS, Silent()).path


@pytest.fixture(scope="module")
def prepared(gguf: Path) -> Path:
    from metaclaw.training.model import prepare

    return prepare(gguf, MODELS / "trainable", lambda _: None)


@pytest.fixture(scope="module")
def in_float32(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights: SmolLM2 talks nonsense in bfloat16."""
    folder = tmp_path_factory.mktemp("smollm2")
    for path in prepared.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "config.json").unlink()
    config = json.loads((prepared / "config.json").read_text()) | {"dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def server(in_float32: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    data = tmp_path_factory.mktemp("server")
    with (data / "log").open("w") as log:
        command = [PYTHON, str(SERVER), str(in_float32), str(data)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert process.stdout
        line = process.stdout.readline()
        assert line, (data / "log").read_text()[-2000:]
        yield json.loads(line)["url"]
        process.terminate()
        process.wait(60)


def row(number: int, split: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": "Answer briefly."},
                {"role": "user", "content": f"Name the note number {number}."}]
    skilled = [{"role": "system", "content": "Answer briefly. Notes are named note-NUMBER."}, messages[1]]
    reply = f"note-{number}" if split != "replay" else f"It is number {number}."
    return {"id": str(number), "split": split, "messages": messages, "reply": reply,
            "teacher_messages": skilled if split == "train" else None}


def write_job(folder: Path, gguf: Path, prepared: Path, url: str, model: Path) -> Path:
    folder.mkdir()
    job = {"model_dir": str(prepared), "base_gguf": str(gguf), "base_model": "smollm2-135m", "rank": 8, "epochs": 3,
           "batch_size": 4, "learning_rate": 2e-3, "kl_budget": None, "patience": None, "reply_tokens": 12,
           "checkpoint_every_seconds": 0, "tinker": {"url": url, "model": str(model)}}
    (folder / "job.json").write_text(json.dumps(job))
    rows = [row(number, "replay" if number % 4 == 0 else "train") for number in range(8)] + [row(9, "query")]
    (folder / "dataset.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def start(folder: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "metaclaw.training.trainer", str(folder)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def until(process: subprocess.Popen[str], event: str, **facts: Any) -> Events:
    """What was said up to that."""
    said: Events = []
    assert process.stdout
    for line in process.stdout:
        if not line.startswith("{"):
            continue
        said.append(json.loads(line))
        if {"event": event, **facts}.items() <= said[-1].items():
            return said
    raise AssertionError(said[-3:])


def test_a_job_that_is_killed_goes_on_and_brings_an_adapter_home(
    server: str, gguf: Path, prepared: Path, in_float32: Path, tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    folder = write_job(tmp_path / "job", gguf, prepared, server, in_float32)
    with start(folder) as first:
        before = until(first, "checkpoint", step=2)
        first.kill()
    with start(folder) as second:
        after = until(second, "done")
        assert second.wait(60) == 0
    assert any(one.get("phase") == "resumed" and one["step"] >= 2 for one in after)
    losses = [one["loss"] for one in [*before, *after] if one["event"] == "query"]
    assert losses[-1] < losses[0] or losses[-1] < 0.1
    assert after[-1]["own_samples"] > 0, "with `distill`, some prompts are answered by the student itself"
    weights = load_file(folder / "adapter" / "adapter_model.safetensors")
    assert any("q_proj.lora_B" in name and abs(values).max() > 0 for name, values in weights.items())
    assert (folder / "adapter.gguf").read_bytes()[:4] == b"GGUF"
    assert not (folder / "checkpoint.json").exists()
