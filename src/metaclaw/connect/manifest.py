"""What is written down of a connection: which files, how they were, what was put into them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from metaclaw.connect.formats.base import Entry, Step
from metaclaw.errors import ConnectError


@dataclass(frozen=True, slots=True)
class KeptFile:
    """A file of a client's.

    `before` is the digest of its bytes before we came (None: it did not exist), `copy` the name of the copy of them;
    `ours` are the digests of what we wrote, the newest last; `made` are the folders made for it, the deepest first.
    """

    path: str
    format: str
    before: str | None
    mode: int
    copy: str
    ours: tuple[str, ...]
    settings: tuple[tuple[Step, ...], ...]
    made: tuple[str, ...] = ()

    def state(self, now: bytes | None) -> str:
        """'original', 'ours' or 'edited', by the file's bytes as they are now."""
        if digest(now) == self.before:
            return "original"
        return "ours" if digest(now) in self.ours else "edited"


@dataclass(frozen=True, slots=True)
class Manifest:
    client: str
    url: str
    model: str | None
    connected_at: str
    files: tuple[KeptFile, ...] = ()

    def file(self, path: str) -> KeptFile | None:
        return next((kept for kept in self.files if kept.path == path), None)


def digest(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def to_json(manifest: Manifest) -> bytes:
    return json.dumps(asdict(manifest), indent=1).encode()


def from_json(raw: bytes) -> Manifest:
    """Raises `ConnectError` for what `to_json` has not written."""
    try:
        tree = json.loads(raw)
        return Manifest(**{**tree, "files": tuple(_kept(file) for file in tree["files"])})
    except (ValueError, TypeError, KeyError) as error:
        raise ConnectError(f"The manifest of this connection cannot be read: {error}.") from error


def _kept(tree: dict[str, Any]) -> KeptFile:
    settings = tuple(tuple(_step(step) for step in path) for path in tree["settings"])
    return KeptFile(**{**tree, "ours": tuple(tree["ours"]), "made": tuple(tree["made"]), "settings": settings})


def _step(raw: str | dict[str, str]) -> Step:
    return raw if isinstance(raw, str) else Entry(**raw)
