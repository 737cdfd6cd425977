"""The adapters of a namespace: immutable folders named by content, with lineage, state and verdicts.

Owns the table `adapters` and the verdicts on them. A folder holds the PEFT adapter, its GGUF form and a
`manifest.json`; its name is made from the SHA-256 of both files, which is checked again before it may serve.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaclaw.errors import TrainingError
from metaclaw.store import Connection, Database, verdicts
from metaclaw.types import Adapter, AdapterState, Verdict

COLUMNS = "name, namespace, base_model, parent, folder, sha256, state, lineage, created_at"
PEFT_FILE, GGUF_FILE = "adapter_model.safetensors", "adapter.gguf"


class Registry:
    def __init__(self, database: Database, namespace: str, root: Path) -> None:
        self._database = database
        self._namespace = namespace
        self._root = root

    def register(self, trained: Path, base_model: str, parent: str | None, lineage: Mapping[str, Any]) -> Adapter:
        """Take over a trainer's output folder as a candidate. The same bytes give the same adapter.

        Raises `TrainingError` where the folder is not an adapter.
        """
        digest = digest_of(trained)
        name = f"lora-{digest[:12]}"
        folder = self._root / name
        if not folder.exists():
            partial = self._root / f".{name}.partial"
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(trained, partial)
            manifest = {"name": name, "sha256": digest, "base_model": base_model, "parent": parent, "lineage": lineage}
            (partial / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
            partial.rename(folder)
        adapter = Adapter(
            name, self._namespace, base_model, parent, str(folder), digest, AdapterState.CANDIDATE, lineage, time.time()
        )
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
        """Store the verdict and the state that follows from it, in one transaction."""

        def work(connection: Connection) -> None:
            verdicts.insert(connection, self._namespace, verdict)
            _set_state(connection, self._namespace, name, state)

        self._database.write(work)

    def set_state(self, name: str, state: AdapterState) -> None:
        self._database.write(lambda connection: _set_state(connection, self._namespace, name, state))

    def checked_gguf(self, name: str) -> Path:
        """The file that an engine loads. Raises `TrainingError` unless its bytes are those that were registered."""
        adapter = self.get(name)
        if digest_of(Path(adapter.folder)) != adapter.sha256:
            raise TrainingError(f"Adapter '{name}' is not what was registered: its files were changed. It stays out.")
        return Path(adapter.folder) / GGUF_FILE


def digest_of(folder: Path) -> str:
    """SHA-256 over the PEFT and the GGUF file, in this order."""
    digest = hashlib.sha256()
    for name in (PEFT_FILE, GGUF_FILE):
        path = folder / name
        if not path.is_file():
            raise TrainingError(f"{folder} is not an adapter: it has no {name}.")
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _insert(connection: Connection, adapter: Adapter) -> None:
    connection.execute(
        f"INSERT OR IGNORE INTO adapters ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
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
