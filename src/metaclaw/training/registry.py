"""The adapters of a namespace: immutable folders named by content, signed, with lineage, state and verdicts.

Owns the table `adapters` and the verdicts on them. A folder holds the PEFT adapter, its GGUF form and a
`manifest.json`: the SHA-256 of each file, the lineage and the verdict, with our signature. All of that is checked
before an adapter may serve; what does not hold is refused, and what serves goes on.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from metaclaw.errors import TrainingError
from metaclaw.store import Connection, Database, stale, verdicts
from metaclaw.training.job_folder import any_touched
from metaclaw.training.package import GGUF_FILE, MANIFEST_FILE, PEFT_FILE, files_of, sha256_of
from metaclaw.training.signing import Signer
from metaclaw.types import Adapter, AdapterState, Verdict

__all__ = ["GGUF_FILE", "PEFT_FILE", "Registry", "digest_of"]

COLUMNS = "name, namespace, base_model, parent, folder, sha256, state, lineage, created_at"
KEY_FILE = "signing.key"


class Registry:
    """`root` is the namespace's folder of adapters. The key that signs them lies beside it."""

    def __init__(self, database: Database, namespace: str, root: Path) -> None:
        self._database = database
        self._namespace = namespace
        self._root = root
        self._signer = Signer(root.parent / KEY_FILE)

    def register(self, trained: Path, base_model: str, parent: str | None, lineage: Mapping[str, Any]) -> Adapter:
        """Take over a trainer's output folder as a candidate. The same bytes give the same adapter.

        Raises `TrainingError` where the folder is not an adapter, or holds what may not be in one.
        """
        files_of(trained)
        digest = digest_of(trained)
        name = f"lora-{digest[:12]}"
        folder = self._root / name
        adapter = Adapter(
            name, self._namespace, base_model, parent, str(folder), digest, AdapterState.CANDIDATE, lineage, time.time()
        )
        if not folder.exists():
            partial = self._root / f".{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(trained, partial, symlinks=True, ignore=shutil.ignore_patterns(MANIFEST_FILE))
            self._write_manifest(partial, self._manifest(adapter, partial))
            partial.rename(folder)
        self._database.write(lambda connection: _insert(connection, adapter))
        return self.get(name)

    def get(self, name: str) -> Adapter:
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM adapters WHERE namespace = ? AND name = ?", (self._namespace, name)
        )
        if not rows:
            raise TrainingError(f"There is no adapter '{name}'. `metaclaw adapters list` shows those there are.")
        return _as_adapter(rows[0])

    def all(self) -> list[Adapter]:
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM adapters WHERE namespace = ? ORDER BY created_at, name", (self._namespace,)
        )
        return [_as_adapter(row) for row in rows]

    def verdicts(self, name: str) -> list[Verdict]:
        return verdicts.of_subject(self._database, self._namespace, f"adapter:{name}")

    def decide(self, name: str, verdict: Verdict, state: AdapterState) -> None:
        """Store the verdict and the state that follows from it, in one transaction; then in the signed manifest.

        There it is without the texts of its evidence: what is erased later must not be left in it.
        """
        manifest = self._own_manifest(self.get(name))

        def work(connection: Connection) -> None:
            verdicts.insert(connection, self._namespace, verdict)
            _set_state(connection, self._namespace, name, state)

        self._database.write(work)
        told = {**asdict(verdict), "evidence": verdicts.figures(verdict.evidence)}
        self._write_manifest(self._root / name, {**manifest, "verdict": told})

    def note(self, name: str, verdict: Verdict, state: AdapterState | None = None) -> None:
        """Store what was found of an adapter since it was decided on, and the state that follows, if one does."""

        def work(connection: Connection) -> None:
            verdicts.insert(connection, self._namespace, verdict)
            if state is not None:
                _set_state(connection, self._namespace, name, state)

        self._database.write(work)

    def set_state(self, name: str, state: AdapterState) -> None:
        self._database.write(lambda connection: _set_state(connection, self._namespace, name, state))

    def dependents(self, turn_ids: Collection[str], skill_refs: Collection[str], source: str) -> list[Adapter]:
        """The adapters that were trained on one of these turns, under one of these skills, or after such an adapter;
        and those that the erasing of `source` made stale.
        """
        known = stale.subjects(self._database, self._namespace, source)
        carried = self._skills_of_trained()
        found: dict[str, Adapter] = {}
        for adapter in self.all():  # in the order in which they were made
            trained = _trained_turns(adapter)
            skills = {ref for turn_id in trained for ref in carried.get(turn_id, ())}
            came = trained & set(turn_ids) or skills & set(skill_refs) or adapter.parent in found
            if came or f"adapter:{adapter.name}" in known:
                found[adapter.name] = adapter
        return list(found.values())

    def judged_by(self, turn_ids: Collection[str], skill_refs: Collection[str]) -> list[str]:
        """The adapters that were trained or measured on one of these turns, or on one under one of these skills: their
        verdicts may quote it.
        """
        return [
            adapter.name for adapter in self.all()
            if any_touched(adapter.lineage.get("manifest", []), turn_ids, skill_refs)
        ]

    def mark_stale(self, adapters: Collection[Adapter], reason: str, source: str) -> None:
        def work(connection: Connection) -> None:
            for adapter in adapters:
                stale.mark(connection, self._namespace, f"adapter:{adapter.name}", reason, source)

        self._database.write(work)

    def stale(self) -> dict[str, str]:
        """By name, why an adapter is stale."""
        reasons = stale.reasons(self._database, self._namespace)
        return {subject.partition(":")[2]: why for subject, why in reasons.items() if subject.startswith("adapter:")}

    def forget_sessions(self, turn_ids: Collection[str]) -> None:
        """Take the names of the sessions of these turns out of every lineage. Old manifests had them."""
        for adapter in self.all():
            rows = adapter.lineage.get("manifest", [])
            if not any(row["turn_id"] in turn_ids and row.get("session") for row in rows):
                continue
            named = [{**row, "session": ""} if row["turn_id"] in turn_ids else row for row in rows]
            self._rewrite_lineage(adapter, {**adapter.lineage, "manifest": named})

    def erase_weights(self, adapter: Adapter) -> None:
        """The files of an adapter that is out of use; its row stays."""
        shutil.rmtree(adapter.folder, ignore_errors=True)

    def _rewrite_lineage(self, adapter: Adapter, lineage: Mapping[str, Any]) -> None:
        self._signer.require()
        try:
            manifest = self._own_manifest(adapter)
        except TrainingError:  # it is refused as it is; but the names go out of the file in any case
            (Path(adapter.folder) / MANIFEST_FILE).unlink(missing_ok=True)
        else:
            self._write_manifest(Path(adapter.folder), {**manifest, "lineage": lineage})
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE adapters SET lineage = ? WHERE namespace = ? AND name = ?",
                (json.dumps(lineage), self._namespace, adapter.name),
            )
        )

    def _skills_of_trained(self) -> dict[str, tuple[str, ...]]:
        """The skills in the prompt of each turn: by the manifests, and by the journal for manifests without them."""
        rows = [row for adapter in self.all() for row in adapter.lineage.get("manifest", [])]
        known = {row["turn_id"]: tuple(row["skills"]) for row in rows if "skills" in row}
        for turn_id in {row["turn_id"] for row in rows} - known.keys():
            found = self._database.read("SELECT skills FROM turns WHERE id = ?", (turn_id,))
            known[turn_id] = tuple(json.loads(found[0][0])) if found else ()
        return known

    def checked(self, name: str, base_model: str | None = None) -> Adapter:
        """An adapter that may serve on `base_model`.

        Raises `TrainingError` unless its bytes are those that were registered, our signature says so, nothing else is
        in its folder, and what it was trained on was not erased since.
        """
        adapter = self.get(name)
        why = stale.reasons(self._database, self._namespace).get(f"adapter:{name}")
        if why and adapter.state is not AdapterState.PROMOTED:  # promoted: the policy is to flag it and let it serve
            raise TrainingError(f"Adapter '{name}' is stale ({why}). It stays out.")
        if base_model is not None and base_model != adapter.base_model:
            raise TrainingError(f"Adapter '{name}' was trained on {adapter.base_model}, and {base_model} is served.")
        try:
            self._require_own(adapter)
        except OSError as error:
            raise TrainingError(f"Adapter '{name}' cannot be read: {error}. It stays out.") from error
        return adapter

    def _require_own(self, adapter: Adapter) -> None:
        manifest = self._own_manifest(adapter)
        said = {key: manifest.get(key) for key in ("name", "namespace", "base_model")}
        if said != {"name": adapter.name, "namespace": self._namespace, "base_model": adapter.base_model}:
            raise TrainingError(f"Adapter '{adapter.name}' is a foreign one: its manifest is of {said}. It stays out.")
        if files_of(Path(adapter.folder)) != manifest.get("files"):
            raise TrainingError(_CHANGED.format(adapter.name))

    def checked_gguf(self, name: str, base_model: str | None = None) -> Path:
        """The file that an engine loads, of an adapter that is `checked`."""
        return Path(self.checked(name, base_model).folder) / GGUF_FILE

    def _manifest(self, adapter: Adapter, folder: Path) -> dict[str, Any]:
        return {
            "name": adapter.name, "namespace": adapter.namespace, "sha256": adapter.sha256,
            "base_model": adapter.base_model, "parent": adapter.parent, "files": files_of(folder),
            "lineage": dict(adapter.lineage), "created_at": adapter.created_at,
        }

    def _write_manifest(self, folder: Path, manifest: Mapping[str, Any]) -> None:
        plain = json.loads(json.dumps(manifest))  # as it will be read again
        signed = {"manifest": plain, "signature": self._signer.sign(_canonical(plain))}
        partial = folder.with_name(f".{folder.name.strip('.')}.{MANIFEST_FILE}")  # beside it: the folder stays clean
        partial.write_text(json.dumps(signed, indent=2), encoding="utf-8")
        partial.replace(folder / MANIFEST_FILE)

    def _own_manifest(self, adapter: Adapter) -> dict[str, Any]:
        """What its manifest says, if we signed it. One from before there were signatures is signed, once."""
        folder = Path(adapter.folder)
        try:
            read = json.loads((folder / MANIFEST_FILE).read_bytes())
        except (OSError, ValueError) as error:
            raise TrainingError(f"Adapter '{adapter.name}' has no manifest that can be read: {error}.") from error
        match read:
            case {"manifest": dict(manifest), "signature": str(signature)}:
                if not self._signer.verifies(_canonical(manifest), signature):
                    raise TrainingError(f"Adapter '{adapter.name}' was not signed by this MetaClaw. It stays out.")
                return manifest
        return self._signed_now(adapter, folder)

    def _signed_now(self, adapter: Adapter, folder: Path) -> dict[str, Any]:
        [[signed]] = self._database.read(
            "SELECT signed FROM adapters WHERE namespace = ? AND name = ?", (self._namespace, adapter.name)
        )
        if signed:
            raise TrainingError(f"Adapter '{adapter.name}' has lost its signature. It stays out.")
        if digest_of(folder) != adapter.sha256:
            raise TrainingError(_CHANGED.format(adapter.name))
        manifest = self._manifest(adapter, folder)
        self._write_manifest(folder, manifest)
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE adapters SET signed = 1 WHERE namespace = ? AND name = ?", (self._namespace, adapter.name)
            )
        )
        return manifest


_CHANGED = "Adapter '{}' is not what was registered: its files were changed. It stays out."


def digest_of(folder: Path) -> str:
    """SHA-256 over the PEFT and the GGUF file, in this order."""
    return sha256_of(folder / PEFT_FILE, folder / GGUF_FILE)


def _trained_turns(adapter: Adapter) -> frozenset[str]:
    """What its weights were made from; not what it was only measured on."""
    rows = adapter.lineage.get("manifest", [])
    return frozenset(row["turn_id"] for row in rows if row["split"] in ("train", "replay"))


def _canonical(manifest: Mapping[str, Any]) -> bytes:
    """The same bytes for the same manifest, however its file is laid out."""
    return json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()


def _insert(connection: Connection, adapter: Adapter) -> None:
    connection.execute(
        f"INSERT OR IGNORE INTO adapters ({COLUMNS}, signed) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1)",
        (
            adapter.name, adapter.namespace, adapter.base_model, adapter.parent, adapter.folder, adapter.sha256,
            adapter.state.value, json.dumps(dict(adapter.lineage)), adapter.created_at,
        ),
    )


def _set_state(connection: Connection, namespace: str, name: str, state: AdapterState) -> None:
    connection.execute(
        "UPDATE adapters SET state = ? WHERE namespace = ? AND name = ?", (state.value, namespace, name)
    )


def _as_adapter(row: tuple[Any, ...]) -> Adapter:
    return Adapter(
        name=row[0], namespace=row[1], base_model=row[2], parent=row[3], folder=row[4], sha256=row[5],
        state=AdapterState(row[6]), lineage=json.loads(row[7]), created_at=row[8],
    )
