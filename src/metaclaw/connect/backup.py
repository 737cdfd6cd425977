"""A client's connection on the disk: its files as they were, kept before anything changes, and put back exactly.

`data_dir/connect/<client>/` holds a manifest and one copy of each file that existed. Both are complete before the first
of the client's files changes, so that a kill at any point leaves something to go back to.
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from metaclaw.connect.base import Endpoint
from metaclaw.connect.disk import PRIVATE_FILE, bytes_of, mode_of, put, remove
from metaclaw.connect.edit import taken_out
from metaclaw.connect.formats import FORMATS
from metaclaw.connect.manifest import KeptFile, Manifest, digest, from_json, to_json
from metaclaw.connect.plan import Change, decoded, with_mark
from metaclaw.errors import ConnectError


class Connection:
    """One client's connection. `folder` is where its backup is, or would be."""

    def __init__(self, client: str, folder: Path) -> None:
        self.client = client
        self._folder = folder
        self._undo = f"Run `metaclaw disconnect {client}` first."

    def manifest(self) -> Manifest | None:
        """None while the client is not connected."""
        raw = bytes_of(self._folder / "manifest.json")
        return None if raw is None else from_json(raw)

    def require_unedited(self) -> None:
        """Raises `ConnectError` where somebody has changed what we wrote: it could not be put back exactly."""
        if edited := self.edited_since():
            raise ConnectError(f"{_were(edited)} edited since it was connected. {self._undo}")

    def edited_since(self) -> list[str]:
        """The files that are neither as we wrote them nor as they were before."""
        manifest = self.manifest()
        return [kept.path for kept in manifest.files if _state(kept) == "edited"] if manifest else []

    def original(self, path: Path) -> bytes | None:
        """A file's bytes as they were before we came; as they are now, where we have not."""
        manifest = self.manifest()
        kept = manifest.file(str(path)) if manifest else None
        return bytes_of(path) if kept is None or _state(kept) == "original" else self._copy_of(kept)

    def write(self, changes: Sequence[Change], endpoint: Endpoint) -> None:
        """Keep what is there, then make the changes. Where we are connected already, the first copies stay.

        Raises `ConnectError` where a file was edited since, or where the client keeps its files elsewhere by now.
        """
        self.require_unedited()
        before = self.manifest()
        self._refuse(before, changes)
        kept = tuple(self._kept(change, number, before) for number, change in enumerate(changes))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        manifest = Manifest(self.client, endpoint.url, endpoint.model, now, kept)
        put(self._folder / "manifest.json", to_json(manifest), PRIVATE_FILE)
        for change, file in zip(changes, kept, strict=True):
            if change.before != change.after:
                put(change.file.path, change.after, file.mode)

    def restore(self, *, force: bool = False) -> list[tuple[str, str]]:
        """Put every file back, byte for byte, and forget the connection. Returns each path with what became of it.

        A file that was edited since is refused; with `force`, only our settings in it go back to what they were.
        """
        manifest = self.manifest()
        if manifest is None:
            raise ConnectError(f"{self.client} is not connected: there is nothing to put back.")
        if not force and (edited := self.edited_since()):
            raise ConnectError(
                f"{_were(edited)} edited since `metaclaw connect {self.client}`. Nothing was put back. With --force,"
                " only MetaClaw's settings go back to what they were, and the edits stay;"
                f" each file as it was before is in {self._folder}."
            )
        done = [(kept.path, self._restore(kept)) for kept in manifest.files]
        shutil.rmtree(self._folder)
        return done

    def _refuse(self, before: Manifest | None, changes: Sequence[Change]) -> None:
        if before and {kept.path for kept in before.files} != {str(change.file.path) for change in changes}:
            raise ConnectError(f"{self.client} is connected through other files. {self._undo}")
        if moved := [str(change.file.path) for change in changes if bytes_of(change.file.path) != change.before]:
            raise ConnectError(f"{_were(moved)} edited just now. Nothing was changed; try again.")

    def _kept(self, change: Change, number: int, before: Manifest | None) -> KeptFile:
        """What the manifest will say of a file. One that we meet for the first time is copied."""
        path, after = change.file.path, str(digest(change.after))
        settings = tuple(setting.path for setting in change.file.settings)
        if before and (earlier := before.file(str(path))):
            ours = (*(one for one in earlier.ours if one != after), after)
            return dataclasses.replace(earlier, ours=ours, settings=settings)
        copy = f"{number}-{path.name}"
        if change.before is not None:
            put(self._folder / copy, change.before, PRIVATE_FILE)
        made = tuple(str(parent) for parent in path.parents if not parent.exists())
        known = digest(change.before)
        return KeptFile(str(path), change.file.format.NAME, known, mode_of(path), copy, (after,), settings, made)

    def _restore(self, kept: KeptFile) -> str:
        path, state = Path(kept.path), _state(kept)
        if state == "original":
            return "was as before"
        if state == "edited":
            return self._take_out(path, kept)
        original = self._copy_of(kept)
        if original is None:
            remove(path, kept.made)
            return "removed: it was not there before"
        put(path, original, kept.mode)
        return "put back"

    def _take_out(self, path: Path, kept: KeptFile) -> str:
        current = bytes_of(path)
        if current is None:
            return "was deleted since, and stays so"
        try:
            original = decoded(self._copy_of(kept))
            left = taken_out(FORMATS[kept.format], decoded(current) or "", kept.settings, original)
        except ConnectError as error:
            raise ConnectError(f"{path}: {error} The file as it was before is in {self._folder}.") from error
        if left is None:
            remove(path, kept.made)
            return "removed: it was not there before"
        put(path, with_mark(current, left.encode()), mode_of(path))
        return "our settings put back, other edits kept"

    def _copy_of(self, kept: KeptFile) -> bytes | None:
        if kept.before is None:
            return None
        copy = bytes_of(self._folder / kept.copy)
        if digest(copy) != kept.before:
            raise ConnectError(f"The copy of {kept.path} in {self._folder} is damaged; it cannot be put back.")
        return copy


def _state(kept: KeptFile) -> str:
    return kept.state(bytes_of(Path(kept.path)))


def _were(paths: Sequence[str]) -> str:
    return f"{' and '.join(paths)} {'was' if len(paths) == 1 else 'were'}"
