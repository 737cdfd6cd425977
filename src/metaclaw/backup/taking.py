"""What goes into a backup, and that it fits together: the store, the library's folders, the adapters and the settings.

The store comes first, at one moment; the library's folders follow under their locks, so that no process writes a skill
between the two. Adapters never change once they are in the store. Left out: what can be made or fetched again (indexes,
model weights), what runs (logs, locks, unfinished training), every secret, and the private key unless it is asked for.
"""

from __future__ import annotations

import fcntl
import io
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import apsw

from metaclaw import __version__
from metaclaw.backup.archive import CONFIG, PRIVATE_KEY, STORE, Facts, Progress, Writer
from metaclaw.backup.settings_file import without_secrets
from metaclaw.config.settings import Settings
from metaclaw.errors import BackupError
from metaclaw.library.folder import names, read
from metaclaw.library.mirror import Mirror
from metaclaw.runtime.home import Home
from metaclaw.store import Database
from metaclaw.store.checkup import newest_schema
from metaclaw.store.snapshot import snapshot
from metaclaw.training.package import ALLOWED, MANIFEST_FILE, sha256_of
from metaclaw.training.registry import KEY_FILE
from metaclaw.training.signing import Signer, fingerprint

WORK = ".backup"


@dataclass(frozen=True, slots=True)
class Backup:
    """What was written, for people. `missing` are adapters whose files are gone, `left_out` settings.

    `signed_by` is the fingerprint of our key; None where nothing here can sign.
    """

    facts: Facts
    turns: int
    skills: int
    adapters: int
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    signed_by: str | None
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked of a backup: the file, the settings file that goes in, and whether the private key does."""

    into: Path
    config: Path
    with_key: bool = False
    replace: bool = False


def take(settings: Settings, wish: Wish, progress: Progress) -> Backup:
    """Write everything that was learned, of all namespaces, into one file. A gateway may run meanwhile.

    Raises `BackupError` where that cannot be, `StoreError` where the store cannot be read.
    """
    home, store = settings.home, Home(settings).store
    key_file = home / "adapters" / KEY_FILE
    _require_sense(wish, store, key_file)
    signer = Signer(key_file) if find_spec("cryptography") else None
    text, left_out = _settings_text(wish.config)
    with Database(store) as database, _work_folder(home) as work:
        copy = work / STORE
        with _library_at_rest(database, home):
            snapshot(store, copy)
            skills = dict(_skill_files(home))
        with closing(apsw.Connection(str(copy), flags=apsw.SQLITE_OPEN_READONLY)) as found:
            adapters = [home / "adapters" / namespace / name for namespace, name in _adapters(found)]
            facts = Facts(__version__, newest_schema(), time.time(), _namespaces(found), wish.with_key)
            turns = int(found.execute("SELECT count(*) FROM turns").get)
        there = [folder for folder in adapters if folder.is_dir()]
        try:
            with Writer(wish.into, progress) as writer:
                writer.add_file(STORE, copy)
                for folder in there:
                    for path in _files_of_adapter(folder):
                        writer.add_file(f"adapters/{folder.parent.name}/{folder.name}/{path.name}", path, packed=False)
                for name, content in (skills | _keys(signer, key_file, private=wish.with_key)).items():
                    writer.add(name, io.BytesIO(content))
                if text is not None:
                    writer.add(CONFIG, io.BytesIO(text.encode()))
                writer.seal(facts, signer)
        except OSError as error:
            raise BackupError(f"{wish.into} could not be made: {error.strerror or error}.") from error
    return Backup(
        facts, turns, len({tuple(name.split("/")[1:3]) for name in skills}), len(there),
        tuple(folder.name for folder in adapters if folder not in there), left_out,
        fingerprint(signer.public_key()) if signer else None, wish.into.stat().st_size, sha256_of(wish.into),
    )


def expected_bytes(settings: Settings) -> int:
    """About how much there is to copy."""
    home = settings.home
    paths = [Home(settings).store, *(path for path in (home / "adapters").rglob("*"))]
    return sum(path.stat().st_size for path in paths if path.is_file())


def _require_sense(wish: Wish, store: Path, key_file: Path) -> None:
    if wish.into.exists() and not wish.replace:
        raise BackupError(f"{wish.into} is there already. Name another file, or say --force to write over it.")
    if not wish.into.parent.is_dir():
        raise BackupError(f"There is no folder {wish.into.parent}. Make it, or name another file.")
    if not store.is_file():
        raise BackupError(f"There is nothing to back up: {store} is not there.")
    if wish.with_key and not key_file.is_file():
        raise BackupError(f"There is no signing key to put in: {key_file} was not made yet. Leave out --with-key.")


@contextmanager
def _work_folder(home: Path) -> Iterator[Path]:
    """For one backup at a time. What a killed one left in it goes."""
    work = home / WORK
    work.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        raise BackupError("Another backup of this data folder is under way. Wait for it.") from error
    try:
        for path in work.iterdir():
            path.unlink()
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)
        os.close(descriptor)


@contextmanager
def _library_at_rest(database: Database, home: Path) -> Iterator[None]:
    """No process writes a skill's folder meanwhile. A change that is in the store and not yet in its folder is made up
    for when the store is opened, as after a kill.
    """
    with ExitStack() as held:
        for folder in _folders(home / "skills"):
            held.enter_context(Mirror(database, folder.name, folder).locked())
        yield


def _skill_files(home: Path) -> Iterator[tuple[str, bytes]]:
    """Of each skill what is the skill: SKILL.md and scripts, as the library reads them."""
    for root in _folders(home / "skills"):
        for name in names(root):
            raw = read(root, name)
            for path, content in raw.files if raw else ():
                yield f"skills/{root.name}/{name}/{path}", content


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.glob("*") if path.is_dir() and not path.name.startswith("."))


def _adapters(store: apsw.Connection) -> list[tuple[str, str]]:
    rows = store.execute("SELECT namespace, name FROM adapters ORDER BY 1, 2")
    return [(str(namespace), str(name)) for namespace, name in rows]


def _namespaces(store: apsw.Connection) -> tuple[str, ...]:
    rows = store.execute("SELECT namespace FROM sessions UNION SELECT namespace FROM skills"
                         " UNION SELECT namespace FROM adapters ORDER BY 1")
    return tuple(str(row[0]) for row in rows)


def _files_of_adapter(folder: Path) -> list[Path]:
    """What may be in one. Anything else would keep it from serving, and stays here."""
    known = ALLOWED | {MANIFEST_FILE}
    return [path for path in sorted(folder.iterdir()) if path.name in known and not path.is_symlink()]


def _keys(signer: Signer | None, key_file: Path, *, private: bool) -> dict[str, bytes]:
    """Every public key by which an adapter in the backup may be known for ours."""
    if signer is None:
        return {}
    known = {f"keys/{fingerprint(key)}.pub": key.encode() for key in (signer.public_key(), *signer.trusted())}
    return known | ({PRIVATE_KEY: key_file.read_bytes()} if private else {})


def _settings_text(config: Path) -> tuple[str | None, tuple[str, ...]]:
    if not config.is_file():
        return None, ()
    try:
        return without_secrets(config.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise BackupError(f"The settings file {config} cannot be read ({error}). Mend it, or move it away.") from error
