"""A run file: lines of JSON that a bench which stops goes on from. The first line says what is run.

A file of another run is refused. A line that a crash cut short is dropped.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from metaclaw.errors import MetaClawError


class Lines:
    """`found` are the lines that stood in the file when it was opened, the first one apart."""

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self.path = path
        self._plan = dict(plan)
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_bytes().split(b"\n") if path.exists() else []
        whole = [json.loads(line) for line in lines[:-1]]  # what follows the last newline was cut short
        if whole and whole[0] != self._plan:
            raise MetaClawError(
                f"{path} is of another run ({json.dumps(whole[0])}). Move it away, or name another --run-dir."
            )
        self.found: list[dict[str, Any]] = whole[1:]
        self.rewrite(self.found)

    def add(self, line: Mapping[str, Any]) -> None:
        """Kept on disk when this returns."""
        with self.path.open("ab") as file:
            file.write(_written(line))
            file.flush()
            os.fsync(file.fileno())

    def rewrite(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Put these in place of all lines but the first."""
        fresh = self.path.with_suffix(".new")
        fresh.write_bytes(b"".join(map(_written, (self._plan, *lines))))
        fresh.replace(self.path)


def _written(line: Mapping[str, Any]) -> bytes:
    return json.dumps(dict(line), ensure_ascii=False).encode() + b"\n"
