"""Adapters: named by their bytes, immutable, refused when changed, and decided on with their verdict."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from metaclaw.errors import StoreError, TrainingError
from metaclaw.store import Database
from metaclaw.training.package import MANIFEST_FILE
from metaclaw.training.registry import GGUF_FILE, PEFT_FILE, Registry
from metaclaw.types import Adapter, AdapterState, Verdict
from small_adapter import safetensors
from small_adapter import write_adapter as trained
from support import NAMESPACE

LINEAGE = {"job": "train-1", "manifest": [{"turn_id": "t1", "split": "train"}]}


@pytest.fixture
def registry(database: Database, tmp_path: Path) -> Registry:
    return Registry(database, NAMESPACE, tmp_path / "adapters")


def verdict_on(name: str, decision: str = "promoted: better") -> Verdict:
    return Verdict(f"adapter:{name}", "base", name, 8, 0.5, 0.97, decision, {"query": {"wins": 5}, "changed": ["said"]})


def test_an_adapter_is_named_by_its_content_and_kept_whole(registry: Registry, tmp_path: Path) -> None:
    output = trained(tmp_path / "out")
    adapter = registry.register(output, "tiny", None, LINEAGE)
    assert adapter.name == f"lora-{adapter.sha256[:12]}"
    assert (adapter.state, adapter.parent, adapter.lineage) == (AdapterState.CANDIDATE, None, LINEAGE)
    assert registry.checked_gguf(adapter.name).read_bytes() == b"GGUF of weights"
    folder = Path(adapter.folder)
    assert folder.parent == tmp_path / "adapters"
    assert (folder / "adapter_config.json").exists()
    assert json.loads((folder / "manifest.json").read_text("utf-8"))["manifest"]["sha256"] == adapter.sha256
    trained(output, b"the trainer's folder may go on changing")
    assert registry.checked_gguf(adapter.name).read_bytes() == b"GGUF of weights"


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
    path = Path(adapter.folder) / file
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(TrainingError, match="its files were changed"):
        registry.checked_gguf(adapter.name)


def test_one_whose_files_cannot_be_read_never_serves(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, {})

    def unreadable(folder: Path) -> dict[str, str]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), str(folder / GGUF_FILE))

    monkeypatch.setattr("metaclaw.training.registry.files_of", unreadable)
    with pytest.raises(TrainingError, match=rf"'{adapter.name}' cannot be read: .*Input/output error"):
        registry.checked(adapter.name)


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
    assert [path.name for path in root.iterdir() if path.is_dir()] == [name]


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


def signed_manifest(adapter: Adapter) -> dict[str, Any]:
    return dict(json.loads((Path(adapter.folder) / MANIFEST_FILE).read_text("utf-8")))


def test_the_manifest_names_every_file_lineage_and_verdict_under_a_key_of_ours(
    registry: Registry, tmp_path: Path
) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, LINEAGE)
    registry.decide(adapter.name, verdict_on(adapter.name), AdapterState.PROMOTED)
    manifest = signed_manifest(adapter)["manifest"]
    files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(adapter.folder).iterdir()}
    assert manifest["files"] == {name: digest for name, digest in files.items() if name != MANIFEST_FILE}
    assert (manifest["lineage"], manifest["verdict"]["decision"]) == (LINEAGE, "promoted: better")
    assert manifest["verdict"]["evidence"] == {"query": {"wins": 5}, "changed": ["(erased)"]}  # figures, and no text
    assert registry.checked(adapter.name, "tiny") == registry.get(adapter.name)
    key = tmp_path / "signing.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    key.chmod(0o644)
    with pytest.raises(TrainingError, match="Others may read the signing key"):
        Registry(registry._database, NAMESPACE, tmp_path / "adapters").checked(adapter.name)


@pytest.mark.parametrize("key", ["name", "base_model", "files", "lineage", "parent"])
def test_a_manifest_that_was_changed_is_refused(registry: Registry, tmp_path: Path, key: str) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, LINEAGE)
    written = signed_manifest(adapter)
    written["manifest"][key] = {}
    (Path(adapter.folder) / MANIFEST_FILE).write_text(json.dumps(written), encoding="utf-8")
    with pytest.raises(TrainingError, match="was not signed by this MetaClaw"):
        registry.checked(adapter.name)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"manifest": {}, "signature": "zz"}', '{"manifest": 1}'])
def test_a_manifest_that_is_none_is_refused(registry: Registry, tmp_path: Path, text: str) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, LINEAGE)
    (Path(adapter.folder) / MANIFEST_FILE).write_text(text, encoding="utf-8")
    with pytest.raises(TrainingError, match=r"no manifest that can be read|not signed|lost its signature"):
        registry.checked(adapter.name)


def test_an_adapter_of_another_installation_model_or_namespace_is_refused(
    registry: Registry, database: Database, tmp_path: Path
) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, LINEAGE)
    with pytest.raises(TrainingError, match="trained on tiny, and huge is served"):
        registry.checked_gguf(adapter.name, "huge")
    other = Registry(database, "other", tmp_path / "elsewhere" / "adapters")  # with a key of its own
    foreign = other.register(trained(tmp_path / "theirs", b"theirs"), "tiny", None, {})
    shutil.rmtree(adapter.folder)
    shutil.copytree(foreign.folder, adapter.folder)
    with pytest.raises(TrainingError, match="was not signed by this MetaClaw"):
        registry.checked(adapter.name)
    sibling = registry.register(trained(tmp_path / "sibling", b"sibling"), "tiny", None, {})
    shutil.rmtree(adapter.folder)
    shutil.copytree(sibling.folder, adapter.folder)  # ours and signed, but under another name
    with pytest.raises(TrainingError, match="is a foreign one"):
        registry.checked(adapter.name)


def pickled(folder: Path) -> None:
    (folder / "adapter_model.bin").write_bytes(b"anything")


def pickled_under_a_good_name(folder: Path) -> None:
    (folder / PEFT_FILE).write_bytes(pickle.dumps({"lora_A": [1.0]}))


def zipped_pickle(folder: Path) -> None:
    (folder / PEFT_FILE).write_bytes(b"PK\x03\x04" + bytes(60))


def a_gap_in_the_weights(folder: Path) -> None:
    (folder / PEFT_FILE).write_bytes(safetensors(b"weights") + b"and more")


def a_short_file(folder: Path) -> None:
    (folder / PEFT_FILE).write_bytes(safetensors(b"weights")[:-1])


def no_gguf(folder: Path) -> None:
    (folder / GGUF_FILE).write_bytes(b"ELF..")


def a_link(folder: Path) -> None:
    (folder / PEFT_FILE).rename(folder.parent / "weights")
    (folder / PEFT_FILE).symlink_to(folder.parent / "weights")


def a_script(folder: Path) -> None:
    (folder / "modeling.py").write_text("import os", encoding="utf-8")


SPOILT = [
    (pickled, "is pickled"), (pickled_under_a_good_name, "is pickled"), (zipped_pickle, "is pickled"),
    (a_gap_in_the_weights, "no whole safetensors"), (a_short_file, "no whole safetensors"), (no_gguf, "no GGUF file"),
    (a_link, "does not belong"), (a_script, "does not belong"),
]


@pytest.mark.parametrize(("spoil", "told"), SPOILT)
def test_what_is_pickled_or_no_adapter_is_neither_taken_nor_served(
    registry: Registry, tmp_path: Path, spoil: Callable[[Path], None], told: str
) -> None:
    adapter = registry.register(trained(tmp_path / "good"), "tiny", None, {})
    spoil(trained(tmp_path / "out", b"spoilt"))
    with pytest.raises(TrainingError, match=told):
        registry.register(tmp_path / "out", "tiny", None, {})
    assert [one.name for one in registry.all()] == [adapter.name]
    spoil(Path(adapter.folder))
    with pytest.raises(TrainingError, match=told):
        registry.checked_gguf(adapter.name)


def as_before_signatures(adapter: Adapter, database: Database) -> None:
    old: dict[str, Any] = {"name": adapter.name, "sha256": adapter.sha256, "base_model": "tiny", "lineage": {}}
    (Path(adapter.folder) / MANIFEST_FILE).write_text(json.dumps(old), encoding="utf-8")
    database.write(lambda connection: connection.execute("UPDATE adapters SET signed = 0"))


def test_an_old_adapter_is_signed_at_first_sight_if_it_is_what_was_recorded(
    registry: Registry, database: Database, tmp_path: Path
) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, {})
    as_before_signatures(adapter, database)
    assert registry.checked(adapter.name) == adapter
    assert signed_manifest(adapter)["signature"]
    as_signed = (Path(adapter.folder) / MANIFEST_FILE).read_bytes()
    (Path(adapter.folder) / MANIFEST_FILE).write_text("{}", encoding="utf-8")  # that works once
    with pytest.raises(TrainingError, match="lost its signature"):
        registry.checked(adapter.name)
    (Path(adapter.folder) / MANIFEST_FILE).write_bytes(as_signed)
    assert registry.checked(adapter.name)


def test_an_old_adapter_that_is_not_what_was_recorded_is_never_signed(
    registry: Registry, database: Database, tmp_path: Path
) -> None:
    adapter = registry.register(trained(tmp_path / "out"), "tiny", None, {})
    trained(Path(adapter.folder), b"others")
    as_before_signatures(adapter, database)
    with pytest.raises(TrainingError, match="its files were changed"):
        registry.checked(adapter.name)
    assert "signature" not in signed_manifest(adapter)
