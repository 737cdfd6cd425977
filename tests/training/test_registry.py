"""Adapters: named by their bytes, immutable, refused when changed, and decided on with their verdict."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from metaclaw.errors import StoreError, TrainingError
from metaclaw.store import Database
from metaclaw.training.registry import GGUF_FILE, PEFT_FILE, Registry
from metaclaw.types import AdapterState, Verdict
from support import NAMESPACE

LINEAGE = {"job": "train-1", "manifest": [{"turn_id": "t1", "split": "train"}]}


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Registry:
    return Registry(database, NAMESPACE, tmp_path / "adapters")


def trained(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / PEFT_FILE).write_bytes(weights)
    (folder / GGUF_FILE).write_bytes(b"gguf of " + weights)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    return folder


def verdict_on(name: str, decision: str = "promoted: better") -> Verdict:
    return Verdict(f"adapter:{name}", "base", name, 8, 0.5, 0.97, decision, {"query": {"wins": 5}})


def test_an_adapter_is_named_by_its_content_and_kept_whole(registry: Registry, tmp_path: Path) -> None:
    output = trained(tmp_path / "out")
    adapter = registry.register(output, "tiny", None, LINEAGE)
    assert adapter.name == f"lora-{adapter.sha256[:12]}"
    assert (adapter.state, adapter.parent, adapter.lineage) == (AdapterState.CANDIDATE, None, LINEAGE)
    assert registry.checked_gguf(adapter.name).read_bytes() == b"gguf of weights"
    folder = Path(adapter.folder)
    assert folder.parent == tmp_path / "adapters"
    assert (folder / "adapter_config.json").exists()
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["sha256"] == adapter.sha256
    trained(output, b"the trainer's folder may go on changing")
    assert registry.checked_gguf(adapter.name).read_bytes() == b"gguf of weights"


def test_the_same_bytes_are_the_same_adapter(registry: Registry, tmp_path: Path) -> None:
    first = registry.register(trained(tmp_path / "a"), "tiny", None, LINEAGE)
    registry.decide(first.name, verdict_on(first.name), AdapterState.PROMOTED)
    again = registry.register(trained(tmp_path / "b"), "tiny", "lora-other", {})
    other = registry.register(trained(tmp_path / "c", b"others"), "tiny", first.name, {})
    assert (again.name, again.state, again.lineage) == (first.name, AdapterState.PROMOTED, LINEAGE)
    assert [adapter.name for adapter in registry.all()] == [first.name, other.name]
    assert other.parent == first.name


@pytest.mark.parametrize("file", [PEFT_FILE, GGUF_FILE])
def test_a_changed_file_never_serves(registry: Registry, tmp_path: Path, file: str) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, {})
    (Path(adapter.folder) / file).write_bytes(b"tampered")
    with pytest.raises(TrainingError, match="its files were changed"):
        registry.checked_gguf(adapter.name)


@pytest.mark.parametrize("missing", [PEFT_FILE, GGUF_FILE])
def test_a_folder_that_is_no_adapter_is_refused(registry: Registry, tmp_path: Path, missing: str) -> None:
    (trained(tmp_path / "out") / missing).unlink()
    with pytest.raises(TrainingError, match=f"is not an adapter: it has no {missing}"):
        registry.register(tmp_path / "out", "tiny", None, {})
    assert registry.all() == []


def test_what_an_interrupted_registration_left_is_replaced(registry: Registry, tmp_path: Path) -> None:
    name = registry.register(trained(tmp_path / "out"), "tiny", None, {}).name
    root = tmp_path / "adapters"
    (root / name).rename(root / f".{name}.partial")
    (root / f".{name}.partial" / PEFT_FILE).unlink()
    registry.register(tmp_path / "out", "tiny", None, {})
    assert registry.checked_gguf(name).exists()
    assert [path.name for path in root.iterdir()] == [name]


def test_verdict_and_state_are_written_in_one_go(registry: Registry, database: Database, tmp_path: Path) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, {})
    verdict = verdict_on(adapter.name)
    registry.decide(adapter.name, verdict, AdapterState.PROMOTED)
    assert registry.get(adapter.name).state is AdapterState.PROMOTED
    assert registry.verdicts(adapter.name) == [verdict]
    database.write(lambda connection: connection.execute("CREATE TEMP TRIGGER no BEFORE UPDATE ON main.adapters"
                                                         " BEGIN SELECT raise(ABORT, 'not now'); END"))
    with pytest.raises(StoreError, match="not now"):
        registry.decide(adapter.name, verdict_on(adapter.name, "rejected: worse"), AdapterState.REJECTED)
    assert registry.get(adapter.name).state is AdapterState.PROMOTED
    assert registry.verdicts(adapter.name) == [verdict]


def test_a_state_can_be_undone_and_namespaces_do_not_mix(
    registry: Registry, database: Database, tmp_path: Path
) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, {})
    other = Registry(database, "other", tmp_path / "other")
    other.set_state(adapter.name, AdapterState.PROMOTED)
    assert registry.get(adapter.name).state is AdapterState.CANDIDATE
    registry.set_state(adapter.name, AdapterState.ROLLED_BACK)
    assert registry.get(adapter.name).state is AdapterState.ROLLED_BACK
    assert other.all() == []
    with pytest.raises(TrainingError, match="no adapter"):
        other.get(adapter.name)
