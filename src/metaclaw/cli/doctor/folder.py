"""The doctor looks at the data folder: may others read it, is the token there, and is the store whole."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from metaclaw.cli.doctor.finding import Finding, broken, note, ok
from metaclaw.config.settings import Settings
from metaclaw.errors import StoreError
from metaclaw.store.checkup import Checkup, examine

OTHERS = 0o077  # what anybody but the owner may do


def data_folder(home: Path) -> Iterator[Finding]:
    if not home.exists():
        yield ok("data folder", f"{home} is not there yet: `metaclaw start` makes it")
        return
    if not home.is_dir():
        yield broken("data folder", f"{home} is not a folder", "Move it away, or set data_dir to another place.")
        return
    owned = home.stat().st_uid == os.geteuid()
    if not os.access(home, os.R_OK | os.W_OK | os.X_OK):
        yield broken("data folder", f"{home} cannot be written", f"sudo chown -R {_me()} {home}")
    elif not owned and os.geteuid() != 0:
        yield note("data folder", f"{home} belongs to somebody else", f"sudo chown -R {_me()} {home}")
    elif _mode(home) & OTHERS:
        yield note(
            "data folder", f"other users of this machine may look into {home} (mode {_mode(home):o}), where turns are"
            " kept", f"chmod 700 {home}",
        )
    else:
        yield ok("data folder", f"{home} is yours alone")


def token(settings: Settings) -> Iterator[Finding]:
    if settings.gateway.token is not None:
        yield ok("token", "set by gateway.token")
        return
    path = settings.home / "token"
    try:
        mode, held = _mode(path), path.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        yield ok("token", "not made yet: `metaclaw start` makes one")
        return
    except (OSError, UnicodeDecodeError) as error:
        yield broken("token", f"{path} cannot be read: {error}", f"rm {path}: the next start makes a new one")
        return
    if not held:
        yield broken("token", f"{path} is empty", f"rm {path}: the next start makes a new one")
    elif mode & OTHERS:
        yield broken("token", f"{path} may be read by others (mode {mode:o})", f"chmod 600 {path}")
    else:
        yield ok("token", f"{path} is yours alone")


def store(path: Path) -> tuple[list[Finding], Checkup | None]:
    if not path.exists():
        return [ok("store", "not made yet: `metaclaw start` makes it")], None
    try:
        found = examine(path)
    except StoreError as error:
        mend = "See what `ls -l` says of it; a copy of yours can be put in its place."
        return [broken("store", str(error), mend)], None
    return [_judged(path, found)], found


def _judged(path: Path, found: Checkup) -> Finding:
    told = f"{path}, {found.size_bytes / 1e6:.1f} MB, schema {found.schema}"
    if found.problem:
        return broken(
            "store", f"{told}: damaged ({found.problem})",
            f"Stop the gateway, keep a copy, then: sqlite3 {path} .recover | sqlite3 {path}.new",
        )
    if found.schema > found.newest_schema:
        return broken("store", f"{told}: written by a newer MetaClaw", "pip install --upgrade metaclaw")
    if found.schema < found.newest_schema:
        return ok("store", f"{told}; the next start brings it to {found.newest_schema}")
    return ok("store", told if found.problem is not None else f"{told}; too large to be read through here")


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _me() -> int:
    return os.geteuid()
