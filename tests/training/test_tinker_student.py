"""The backend `tinker` through the real client library, against a small server that trains a model of few weights."""

from __future__ import annotations

import gc
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from metaclaw.errors import TrainingError
from metaclaw.training.examples import Example
from metaclaw.training.own import OwnWords
from metaclaw.training.recipe import Endpoint, TrainJob
from metaclaw.training.run import Interrupted, Run, check
from metaclaw.training.student import Student
from metaclaw.training.tinker_service import Service, unpack_adapter
from metaclaw.training.tinker_student import CHECKPOINT, TinkerStudent
from metaclaw.training.trainer import _convert
from small_adapter import safetensors
from tiny import END, Scored, Taught, Words, example, tiny_job, tiny_run

pytest.importorskip("tinker", reason="the Tinker client is not installed: pip install 'metaclaw[tinker]'")
from tinker_stand_in import Server, tinker_server

pytestmark = [
    pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning"),  # PEFT asks transformers so
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),  # the client closes no connection
]

SAME = 1e-4
"""Largest difference of any weight: the server divides gradients by rows, and not by tokens, before the same AdamW."""
GOOD = 13


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with tinker_server() as served:
        yield served
    gc.collect()  # what the client left open is told of here, and not in another module's test


def job_on(server: Server, folder: Path, **settings: Any) -> TrainJob:
    where = Endpoint(url=server.url, model="tiny", key_variable="NO_KEY")
    return tiny_job(folder, alpha=32, adapted_share=1.0, patience=None, clip_norm=1e9, tinker=where, **settings)


def rows() -> list[Example]:
    return [*(example(at) for at in range(6)), *(example(at, "replay") for at in range(6, 9)), example(9, "query")]


def run_on(job: TrainJob, stop: threading.Event | None = None) -> Run:
    """As `trainer.train` puts it together."""
    assert job.tinker
    ask = stop or threading.Event()
    student = TinkerStudent(job, job.tinker, END, Service(job.tinker, lambda: check(ask)), lambda: check(ask))
    scorer = Scored(lambda text: float(text.split().count(str(GOOD))))
    own = OwnWords(job, Words(), student, scorer, Taught(GOOD) if job.objective == "opd" else None)  # type: ignore[arg-type]
    job.model_dir.mkdir(exist_ok=True)
    examples = rows()
    return Run(job, job.model_dir, student, own, examples, student.look(examples, range(len(examples))), ask)


def learned(server: Server) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in server.learned.named_parameters() if p.requires_grad}


def test_replies_teach_the_same_there_as_here(server: Server, tmp_path: Path) -> None:
    job = job_on(server, tmp_path / "there", objective="sft", replay_weight=0.0)
    there = run_on(job)
    there.to_the_end()
    here = tiny_run(job.model_copy(update={"model_dir": tmp_path / "here", "tinker": None}), rows())
    here.to_the_end()
    assert isinstance(here._student, Student)
    mine = here._student.adapter()
    theirs = learned(server)
    assert mine.keys() == theirs.keys()
    assert max(float((one - theirs[name]).abs().max()) for name, one in mine.items()) < SAME
    assert there.progress.query_loss == pytest.approx(here.progress.query_loss, abs=1e-3)
    assert there.progress.recent[-1]["kl_to_base"] > 1e-3


class AfterCalls(threading.Event):
    """Set when it has been asked so often."""

    def __init__(self, calls: int) -> None:
        super().__init__()
        self.left = calls

    def is_set(self) -> bool:
        self.left -= 1
        return self.left < 0


def test_a_run_that_is_stopped_again_and_again_ends_in_the_same_adapter(server: Server, tmp_path: Path) -> None:
    whole = run_on(job_on(server, tmp_path / "whole", epochs=2))
    whole.to_the_end()
    wanted, stops = learned(server), 0
    job = job_on(server, tmp_path / "parts", epochs=2)
    while True:
        part = run_on(job, AfterCalls(3 + stops))
        try:
            part.to_the_end()
            break
        except Interrupted:
            stops += 1
    assert stops >= 2
    assert (tmp_path / "parts" / CHECKPOINT).exists()
    assert all(torch.allclose(one, wanted[name], atol=1e-6) for name, one in learned(server).items())
    assert part.progress.own_samples == whole.progress.own_samples > 0


@pytest.mark.parametrize("objective", ["grpo", "opd"])
def test_what_is_paid_for_or_taught_becomes_likelier(server: Server, tmp_path: Path, objective: str) -> None:
    job = job_on(server, tmp_path / "job", objective=objective, epochs=4, learning_rate=0.05, reply_tokens=3)
    run = run_on(job)

    def chance() -> float:
        with torch.no_grad():
            said = [server.learned(torch.tensor([one.prompt])).logits[0, -1].softmax(-1)[GOOD] for one in rows()[:6]]
        return float(sum(said)) / len(said)

    before = chance()
    run.to_the_end()
    assert chance() > 2 * before


def test_the_adapter_comes_home_as_peft_has_it(server: Server, tmp_path: Path) -> None:
    from safetensors.torch import load_file

    run = run_on(job_on(server, tmp_path / "job", objective="sft", epochs=1))
    run.to_the_end()
    run._student.save_adapter(tmp_path / "adapter")
    assert {path.name for path in (tmp_path / "adapter").iterdir()} == {
        "adapter_model.safetensors", "adapter_config.json",
    }
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["lora_alpha"], config["r"]) == ("tiny", 32, 4)
    assert "q_proj" in config["target_modules"]
    home = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    theirs = {name.replace(".default", ""): p for name, p in learned(server).items()}
    assert home.keys() == theirs.keys()
    assert all(torch.equal(home[name], p) for name, p in theirs.items())


def packed(**files: bytes) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name.replace("__", "."))
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return archive.getvalue()


@pytest.mark.parametrize(
    ("archive", "message"),
    [
        (b"no archive", "cannot be read"),
        (packed(adapter_config__json=b"{}", adapter_model__bin=b"pickle"), "no adapter_model.safetensors"),
        (packed(adapter_config__json=b"[]", adapter_model__safetensors=safetensors(b"w")), "no JSON object"),
        (packed(adapter_config__json=b"{}", adapter_model__safetensors=b"\x04" + bytes(7) + b"junk"), "cannot be read"),
    ],
)
def test_what_is_no_adapter_is_refused(archive: bytes, message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=message):
        unpack_adapter(archive, "tiny", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_server_that_is_not_there_is_named(server: Server) -> None:
    nobody = Endpoint(url="http://127.0.0.1:9", model="tiny")
    with pytest.raises(TrainingError, match=r"No Tinker API answers at http://127\.0\.0\.1:9.*training\.tinker_url"):
        Service(nobody, lambda: None)


def test_a_model_that_the_server_does_not_have_is_named_beside_those_that_it_has(server: Server) -> None:
    where = Endpoint(url=server.url, model="huge", key_variable="NO_KEY")
    with pytest.raises(TrainingError, match=r"has no model huge; set training\.tinker_model to one of tiny"):
        Service(where, lambda: None).require("huge", lambda: None)


def test_the_cloud_needs_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TINKER_API_KEY", raising=False)
    with pytest.raises(TrainingError, match=r"training\.tinker_api_key or TINKER_API_KEY"):
        Service(Endpoint(url="", model="tiny", key_variable="NO_KEY"), lambda: None)


def test_an_adapter_that_the_engine_cannot_serve_stays_and_is_told_of(server: Server, tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "adapter_config.json").write_text('{"peft_type": "LORA", "use_dora": true}')
    with pytest.raises(TrainingError, match=r"lies in .*adapter, but the embedded engine cannot serve it.*use_dora"):
        _convert(job_on(server, tmp_path), tmp_path)
    assert (tmp_path / "adapter" / "adapter_config.json").exists()
