"""What connecting a client would change: its files before and after, and the difference as a person reads it."""

from __future__ import annotations

import codecs
import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from metaclaw.connect.base import ConfigFile
from metaclaw.connect.disk import bytes_of
from metaclaw.connect.edit import edited
from metaclaw.errors import ConnectError


@dataclass(frozen=True, slots=True)
class Change:
    """A file with its bytes now (None: it does not exist) and after."""

    file: ConfigFile
    before: bytes | None
    after: bytes

    @property
    def kind(self) -> str:
        if self.before is None:
            return "created"
        return "unchanged" if self.before == self.after else "changed"


def change_of(file: ConfigFile, original: bytes | None) -> Change:
    """What `file` becomes: its settings in `original`, which is what it holds now, or held before we were connected.

    Raises `ConnectError`, with the file's name, for what cannot be read or edited.
    """
    try:
        after = edited(file, decoded(original)).encode()
    except ConnectError as error:
        raise ConnectError(f"{file.path}: {error} Nothing was changed.") from error
    return Change(file, bytes_of(file.path), with_mark(original, after))


def decoded(raw: bytes | None) -> str | None:
    """The text of a file, without the mark that some editors of Windows begin it with."""
    try:
        return None if raw is None else raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConnectError("It is not UTF-8 text.") from error


def difference(changes: Iterable[Change]) -> str:
    """A unified diff over all files."""
    lines: list[str] = []
    for change in changes:
        path = str(change.file.path)
        before = (decoded(change.before) or "").splitlines()
        after = (decoded(change.after) or "").splitlines()
        source = path if change.before is not None else "(no file)"
        lines += difflib.unified_diff(before, after, source, path, lineterm="")
    return "".join(f"{line}\n" for line in lines)


def with_mark(before: bytes | None, after: bytes) -> bytes:
    """`after`, with the mark that `before` begins with, if it does."""
    mark = codecs.BOM_UTF8
    return mark + after if before is not None and before.startswith(mark) else after
