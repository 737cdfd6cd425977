"""A backup is put in place: built beside the data folder, looked through, and exchanged for it in one step.

Whatever is wrong shows before that step, and until then nothing but a folder of our own was touched. What was there
before is kept aside. What is not learned stays where it is: token, settings, model weights, connected clients.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from glob import escape
from pathlib import Path

from metaclaw.backup.archive import CONFIG, PRIVATE_KEY, STORE, Archive, Progress
from metaclaw.backup.swap import exchange
from metaclaw.backup.taking import WORK
from metaclaw.config.secret import PRIVATE_FOLDER
from metaclaw.errors import BackupError
from metaclaw.library.folder import names
from metaclaw.library.mirror import Mirror
from metaclaw.running import gateways
from metaclaw.store import Database
from metaclaw.store.alone import held_alone
from metaclaw.store.checkup import examine, newest_schema
from metaclaw.training.moved import settle_in
from metaclaw.training.registry import KEY_FILE
from metaclaw.training.signing import Signer, fingerprint, trust

STORE_FILE = "metaclaw.db"
LEARNED = ("skills", "adapters", "jobs")
MARKER = ".restoring"  # in a folder that is being built; held locked while somebody builds it
BESIDE = "config.from-backup.toml"
NOT_CARRIED = (*LEARNED, "indexes", "logs", "run", WORK, BESIDE)  # made again, or of what ran there


@dataclass(frozen=True, slots=True)
class Restored:
    """`aside` is where the old state is, `config` where the backup's settings are; None where there were none."""

    home: Path
    aside: Path | None
    config: Path | None


def known_here(home: Path, archive: Archive) -> bool:
    """Whether this data folder's own key signed the backup, or one that it trusts."""
    key_file = home / "adapters" / KEY_FILE
    if archive.signed_by is None or not key_file.is_file():
        return False
    signer = Signer(key_file)
    return archive.signed_by in (signer.public_key(), *signer.trusted())


def restore(home: Path, archive: Archive, config: Path, progress: Progress, *, replace: bool) -> Restored:
    """Make `home` hold what the backup holds. `config` is the settings file that commands read.

    Raises `BackupError` or `StoreError`; then `home` is as it was.
    """
    place = home.resolve()  # a link to it stays one
    _finish_interrupted(place)
    require_room(place, archive, replace=replace)
    with _built_beside(place) as stage:
        _extract(archive, stage, progress)
        _make_ready(stage, home)
        _bring_keys(archive, stage, place)
        for path in _carried(place):
            _copy(path, stage / path.name)
        settings = _place_settings(stage, home, config)
        os.sync()
        aside = _switch(stage, place)
    return Restored(home, aside, home / settings if settings else None)


def require_room(home: Path, archive: Archive, *, replace: bool) -> None:
    """Raises `BackupError` where the backup cannot come to `home` as it is, `StoreError` where its store is in use."""
    if archive.facts.schema > newest_schema():
        raise BackupError(
            f"The backup was made by a newer MetaClaw ({archive.facts.metaclaw}, schema {archive.facts.schema}; we know"
            f" {newest_schema()}). Upgrade MetaClaw."
        )
    if running := gateways(home):
        raise BackupError(f"A gateway runs on {home} ({running[0].url}). Stop it first: metaclaw stop")
    if _holds_learned(home) and not replace:
        raise BackupError(
            f"{home} holds something learned already. Say --replace to put the backup in its place (it is kept aside),"
            " or name another --data-dir."
        )
    if (store := home / STORE_FILE).is_file():
        with held_alone(store):
            pass
    existing = next(parent for parent in (home, *home.parents) if parent.is_dir())
    if shutil.disk_usage(existing).free < archive.size_bytes:
        raise BackupError(f"{archive.size_bytes / 1e6:,.0f} MB are needed at {home}, more than is free there.")


def _holds_learned(home: Path) -> bool:
    return (home / STORE_FILE).exists() or any(any((home / name).rglob("*")) for name in LEARNED)


@contextmanager
def _built_beside(home: Path) -> Iterator[Path]:
    home.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
    stage = home.with_name(f".{home.name}.restoring-{os.getpid()}")
    try:
        stage.mkdir(mode=PRIVATE_FOLDER)
        marker = os.open(stage / MARKER, os.O_CREAT | os.O_WRONLY, 0o600)
    except OSError as error:
        raise BackupError(f"Nothing can be written beside {home}: {error.strerror}.") from error
    try:
        fcntl.flock(marker, fcntl.LOCK_EX)
        yield stage
    except OSError as error:
        raise BackupError(f"The backup could not be put in place: {error.strerror or error}.") from error
    finally:
        if (stage / MARKER).exists():  # it was not exchanged
            shutil.rmtree(stage, ignore_errors=True)
        os.close(marker)


def _finish_interrupted(home: Path) -> None:
    """What killed restores left: half-built folders go; the old state, once exchanged, is kept aside."""
    (home / MARKER).unlink(missing_ok=True)
    for left in sorted(home.parent.glob(f".{escape(home.name)}.restoring-*")):
        try:
            with (left / MARKER).open("rb") as marker:
                fcntl.flock(marker, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
        except FileNotFoundError:
            if any(left.iterdir()):  # else one that had only just begun
                _put_aside(left, home)
        except BlockingIOError as error:
            raise BackupError(f"Another restore into {home} is under way. Wait for it.") from error


def _extract(archive: Archive, stage: Path, progress: Progress) -> None:
    for name in archive.files:
        if name == STORE:
            archive.extract(name, stage / STORE_FILE, progress)
        elif name == PRIVATE_KEY:
            archive.extract(name, stage / "adapters" / KEY_FILE, progress)
        else:
            archive.extract(name, stage / (BESIDE if name == CONFIG else name), progress)


def _make_ready(stage: Path, home: Path) -> None:
    """The store of the backup as one of ours: whole, of today's schema, and at home where it will be."""
    store = stage / STORE_FILE
    if problem := examine(store).problem:
        raise BackupError(f"The store in the backup is damaged: {problem}. Nothing was restored.")

    def settle() -> None:
        with Database(store) as database:
            settle_in(database, home / "adapters", home / "jobs")
            for folder in (stage / "skills").glob("*"):
                mirror, there = Mirror(database, folder.name, folder), set(names(folder))
                for name in mirror.all_seen().keys() - there:  # else it would count as deleted by hand
                    mirror.forget(name)

    _on_a_thread(settle)  # its connections end with it
    with held_alone(store):  # its log is emptied into it
        pass


def _on_a_thread(work: Callable[[], None]) -> None:
    raised: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if raised:
        raise raised[0]


def _bring_keys(archive: Archive, stage: Path, home: Path) -> None:
    """What the backup's installation signed counts as ours from here on. The private key is the backup's if it holds
    one, else the one that is here.
    """
    shipped = stage / "keys"
    held = [path.read_text(encoding="ascii", errors="replace") for path in sorted(shipped.glob("*.pub"))]
    shutil.rmtree(shipped, ignore_errors=True)
    key_file = stage / "adapters" / KEY_FILE
    if archive.signed_by is None:
        if held or key_file.exists() or (stage / "adapters").exists():
            raise BackupError("The backup holds adapters or keys, and no signature. Nothing was restored.")
    elif archive.signed_by not in held:
        raise BackupError("The backup does not hold the key that it is signed with. Nothing was restored.")
    for key in held:
        if not _is_key(key):
            raise BackupError("A public key in the backup is none. Nothing was restored.")
        trust(key_file, key)
    if key_file.exists():
        if Signer(key_file).public_key() != archive.signed_by:
            raise BackupError("The private key in the backup is not the one that signed it. Nothing was restored.")
    elif (own := home / "adapters" / KEY_FILE).is_file():
        key_file.parent.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
        shutil.copy2(own, key_file)


def _is_key(text: str) -> bool:
    try:
        return len(bytes.fromhex(text)) == 32 and bool(fingerprint(text))
    except ValueError:
        return False


def _carried(home: Path) -> list[Path]:
    """What is not learned, and stays."""
    entries = sorted(home.iterdir()) if home.is_dir() else []
    return [one for one in entries if one.name not in NOT_CARRIED and not one.name.startswith(STORE_FILE)]


def _copy(path: Path, to: Path) -> None:
    """Model weights are large and never change: the same file stands in both folders."""
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, to, symlinks=True, copy_function=_link if path.name == "models" else shutil.copy2)
    else:
        shutil.copy2(path, to, follow_symlinks=False)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:  # not on this file system
        shutil.copy2(source, target, follow_symlinks=False)


def _place_settings(stage: Path, home: Path, config: Path) -> str | None:
    """The name of the file that the backup's settings are in. Where there are settings already, they stay in force."""
    shipped = stage / BESIDE
    if not shipped.exists():
        return None
    if config == home / CONFIG and not (stage / CONFIG).exists():
        shipped.rename(stage / CONFIG)
        return CONFIG
    return BESIDE


def _switch(stage: Path, home: Path) -> Path | None:
    """The step. Nobody has the old store open, or it does not happen.

    A process that opens the old store in the instant of the exchange would go on with it: `gateways` and the lock leave
    that much room, and no more.
    """
    with ExitStack() as held:
        if (store := home / STORE_FILE).is_file():
            held.enter_context(held_alone(store))
        if home.is_dir():
            exchange(stage, home)
        else:
            stage.rename(home)
    (home / MARKER).unlink()
    if not stage.exists():
        return None
    if _holds_learned(stage):
        return _put_aside(stage, home)
    shutil.rmtree(stage, ignore_errors=True)
    return None


def _put_aside(old: Path, home: Path) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    aside = home.with_name(f"{home.name}.before-restore-{stamp}")
    number = 1
    while aside.exists():
        number += 1
        aside = home.with_name(f"{home.name}.before-restore-{stamp}-{number}")
    old.rename(aside)
    return aside
