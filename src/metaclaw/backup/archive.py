"""The file that a backup is: a zip whose manifest names every file in it with its size and SHA-256, and is signed.

Written: `store.db`, `skills/NAMESPACE/...`, `adapters/NAMESPACE/...`, `keys/...`, `config.toml`, then `manifest.json`
and `signature.json`. Read: nothing is believed. A name that is not of that shape, a link, a file more or less than the
manifest says, one byte of another value, or a manifest that its signature does not fit, and the whole is refused. Who
may sign is not decided here: `Archive.signed_by` tells whose key it was.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Self

from metaclaw.errors import BackupError
from metaclaw.training.signing import Signer, signed_by

FORMAT, FORMAT_VERSION = "metaclaw-backup", 1
STORE, CONFIG, MANIFEST, SIGNATURE = "store.db", "config.toml", "manifest.json", "signature.json"
PRIVATE_KEY = "keys/signing.key"
PART = r"[^./\\\x00-\x1f\x7f][^/\\\x00-\x1f\x7f]{0,199}"  # no part of a path begins with a dot
NAMES = re.compile(
    rf"store\.db|config\.toml|keys/(signing\.key|[0-9a-f]{{32}}\.pub)|(skills|adapters)/{PART}/{PART}(/{PART}){{1,8}}"
)
MOST_FILES = 200_000
MOST_MANIFEST_BYTES = 64 * 1024 * 1024
BLOCK = 1 << 20
FAST = 1  # of zlib: texts shrink to a fifth by it already
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError,
)
Progress = Callable[[int], None]  # told of the bytes that were copied since last time


@dataclass(frozen=True, slots=True)
class Facts:
    """What a backup says of itself."""

    metaclaw: str
    schema: int
    created_at: float
    namespaces: tuple[str, ...]
    with_key: bool


class Writer:
    """Writes an archive at `path`, whole or not at all; use it as a context manager, and `seal` it at the end."""

    def __init__(self, path: Path, progress: Progress) -> None:
        self._path, self._progress = path, progress
        self._partial = path.with_name(f".{path.name}.partial")
        self._files: dict[str, dict[str, Any]] = {}
        self._sealed = False

    def __enter__(self) -> Self:
        self._partial.unlink(missing_ok=True)
        self._file = os.fdopen(os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
        self._zip = zipfile.ZipFile(self._file, "w", zipfile.ZIP_DEFLATED, compresslevel=FAST)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._sealed:
            with suppress(OSError, ValueError):  # the disk may be what is full
                self._zip.close()
            with suppress(OSError):
                self._file.close()
            self._partial.unlink(missing_ok=True)

    def add(self, name: str, source: BinaryIO, *, packed: bool = True) -> None:
        """`packed`: weights hardly get smaller by it."""
        if not NAMES.fullmatch(name):
            raise BackupError(f"{name!r} cannot be kept in a backup by that name. Rename it.")
        digest, size = hashlib.sha256(), 0
        member = name if packed else zipfile.ZipInfo(name)  # the latter as it is
        with self._zip.open(member, "w", force_zip64=True) as into:
            while block := source.read(BLOCK):
                digest.update(block)
                size += len(block)
                into.write(block)
                self._progress(len(block))
        self._files[name] = {"sha256": digest.hexdigest(), "bytes": size}

    def add_file(self, name: str, path: Path, *, packed: bool = True) -> None:
        with path.open("rb") as source:
            self.add(name, source, packed=packed)

    def seal(self, facts: Facts, signer: Signer | None) -> None:
        """Write the manifest and its signature; the file is there when this returns."""
        manifest = json.dumps({
            "format": FORMAT, "format_version": FORMAT_VERSION, "metaclaw": facts.metaclaw, "schema": facts.schema,
            "created_at": facts.created_at, "namespaces": list(facts.namespaces), "with_key": facts.with_key,
            "files": self._files,
        }, indent=1).encode()
        self._zip.writestr(MANIFEST, manifest)
        if signer:
            said = {"key": signer.public_key(), "signature": signer.sign(manifest)}
            self._zip.writestr(SIGNATURE, json.dumps(said))
        self._zip.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._partial.replace(self._path)
        self._sealed = True


class Archive:
    """A backup whose manifest was read and fits. `signed_by` is the public key that signed it; None where none did."""

    def __init__(self, path: Path, opened: zipfile.ZipFile) -> None:
        self._path, self._zip = path, opened
        self.members = self._read_members()
        raw = self._read_small(MANIFEST)
        manifest = _manifest(path, raw)
        self.facts = _facts(manifest)
        self.files: dict[str, tuple[str, int]] = {
            str(name): (str(said["sha256"]), int(said["bytes"])) for name, said in manifest["files"].items()
        }
        self.signed_by = self._check_signature(raw)
        if wrong := (set(self.files) ^ set(self.members)) - {MANIFEST, SIGNATURE}:
            raise self._refused(f"its manifest and its contents differ in {min(wrong)!r}")
        if STORE not in self.files:
            raise self._refused("there is no store in it")

    @property
    def size_bytes(self) -> int:
        return sum(size for _, size in self.files.values())

    def extract(self, name: str, into: Path, progress: Progress) -> None:
        """Write one file of it, for its owner's eyes. Raises `BackupError` where it is not what the manifest says."""
        sha256, size = self.files[name]
        into.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        digest, left = hashlib.sha256(), size
        with os.fdopen(os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for block in self._blocks(name, size):
                digest.update(block)
                left -= len(block)
                file.write(block)
                progress(len(block))
        if left or digest.hexdigest() != sha256:
            raise self._refused(f"{name!r} is not what was backed up")

    def _blocks(self, name: str, most: int) -> Iterator[bytes]:
        """What is in a file, and at most a byte more than there should be: a bomb does not fill the disk."""
        left = most + 1
        with _reading(self._path):
            source = self._zip.open(self.members[name])
        with source:
            while left:
                with _reading(self._path):
                    block = source.read(min(BLOCK, left))
                if not block:
                    return
                left -= len(block)
                yield block

    def _read_members(self) -> dict[str, zipfile.ZipInfo]:
        found: dict[str, zipfile.ZipInfo] = {}
        for info in self._zip.infolist():
            kind = stat.S_IFMT(info.external_attr >> 16)
            known = info.filename in (MANIFEST, SIGNATURE) or NAMES.fullmatch(info.filename)
            if not known or kind not in (0, stat.S_IFREG):
                raise self._refused(f"{info.filename[:200]!r} does not belong into one")
            if info.filename in found or len(found) > MOST_FILES:
                raise self._refused(f"{info.filename!r} is in it twice, or too much is")
            found[info.filename] = info
        return found

    def _read_small(self, name: str) -> bytes:
        if name not in self.members:
            raise self._refused(f"there is no {name} in it")
        raw = b"".join(self._blocks(name, MOST_MANIFEST_BYTES))
        if len(raw) > MOST_MANIFEST_BYTES:
            raise self._refused(f"its {name} is too large")
        return raw

    def _check_signature(self, manifest: bytes) -> str | None:
        if SIGNATURE not in self.members:
            return None
        match _object(self._read_small(SIGNATURE)):
            case {"key": str(key), "signature": str(signature)} if signed_by(key, manifest, signature):
                return key
        raise self._refused("its manifest was changed after it was signed")

    def _refused(self, why: str) -> BackupError:
        return BackupError(f"{self._path} was changed, or is no backup of MetaClaw: {why}. Nothing was restored.")


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Raises `BackupError` for what is no backup, is cut short, was changed, or is of a newer MetaClaw."""
    with _reading(path):
        inside = zipfile.ZipFile(path)
    with inside:
        yield Archive(path, inside)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What zip files can do to their reader is one error of ours."""
    try:
        yield
    except FileNotFoundError as error:
        raise BackupError(f"There is no file {path}.") from error
    except UNREADABLE as error:
        raise BackupError(f"{path} is damaged, cut short, or no backup of MetaClaw ({error}).") from error


def _manifest(path: Path, raw: bytes) -> dict[str, Any]:
    match _object(raw):
        case {"format": str(name), "format_version": int(version)} if name == FORMAT and version > FORMAT_VERSION:
            raise BackupError(f"{path} was made by a newer MetaClaw (format {version}). Upgrade MetaClaw.")
        case {
            "format": str(name), "schema": int(), "created_at": float() | int(), "namespaces": list(),
            "with_key": bool(), "metaclaw": str(), "files": dict(files),
        } as manifest if name == FORMAT and all(_is_file(said) for said in files.values()):
            return dict(manifest)
    raise BackupError(f"{path} is no backup of MetaClaw: its manifest is another's.")


def _is_file(said: Any) -> bool:
    match said:
        case {"sha256": str(), "bytes": int(size)}:
            return size >= 0
    return False


def _facts(manifest: dict[str, Any]) -> Facts:
    return Facts(
        manifest["metaclaw"], manifest["schema"], manifest["created_at"],
        tuple(str(one) for one in manifest["namespaces"]), manifest["with_key"],
    )


def _object(raw: bytes) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None
