"""A skill's folder on disk: read as a person left it, written file by file, removed without what is not ours.

Of a folder, SKILL.md and `scripts/` are the skill. Everything else in it (.git, notes, assets) is left alone. Symbolic
links are not followed.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from metaclaw.errors import SkillError
from metaclaw.library import skillfile
from metaclaw.types import Skill

SKILL_FILE = "SKILL.md"
SCRIPTS = "scripts"
MAX_FILE_BYTES = 256 * 1024
MAX_SCRIPTS = 100
NOT_OURS = ("__pycache__",)


@dataclass(frozen=True, slots=True)
class Raw:
    """The bytes of a skill's folder, by path below it. `problem` says why they could not all be read."""

    name: str
    files: tuple[tuple[str, bytes], ...]
    problem: str = ""

    @property
    def sha256(self) -> str:
        return digest((*self.files, ("", self.problem.encode())) if self.problem else self.files)

    def skill(self) -> Skill:
        """The skill that they say. Raises `SkillError` with what is to be mended."""
        if self.problem:
            raise SkillError(self.problem)
        texts = {path: _text(path, content) for path, content in self.files}
        scripts = tuple((path, text) for path, text in sorted(texts.items()) if path != SKILL_FILE)
        skill = skillfile.parse(texts[SKILL_FILE], self.name, scripts)
        if skill.name != self.name:
            raise SkillError(f"its name is '{skill.name}', but its folder is '{self.name}': they must be the same")
        return skill


def digest(files: tuple[tuple[str, bytes], ...]) -> str:
    """One hash of files by their paths and bytes."""
    total = hashlib.sha256()
    for path, content in sorted(files):
        for part in (path.encode(errors="surrogateescape"), content):
            total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()


def names(root: Path) -> list[str]:
    """The folders that are skills, or try to be: those with a SKILL.md. Hidden ones are somebody else's."""
    with suppress(FileNotFoundError), os.scandir(root) as entries:
        return sorted(
            entry.name for entry in entries
            if not entry.name.startswith(".") and entry.is_dir() and os.path.lexists(Path(entry.path) / SKILL_FILE)
        )
    return []


def read(root: Path, name: str) -> Raw | None:
    """What the folder `name` holds; None where there is no such folder with a SKILL.md."""
    folder = root / name
    if not os.path.lexists(folder / SKILL_FILE):
        return None
    if folder.is_symlink() or (folder / SCRIPTS).is_symlink():
        return Raw(name, (), "it is behind a symbolic link; `metaclaw skills import` takes in what that leads to")
    try:
        paths = [SKILL_FILE, *_scripts(folder)]
        return Raw(name, tuple((path, read_regular(folder / path, MAX_FILE_BYTES)) for path in paths))
    except FileNotFoundError:  # deleted or renamed while we looked
        return None if not os.path.lexists(folder / SKILL_FILE) else Raw(name, (), "it changes right now")
    except (SkillError, OSError) as error:
        return Raw(name, (), str(error) if isinstance(error, SkillError) else f"it cannot be read: {error.strerror}")


def write(root: Path, skill: Skill) -> str:
    """Make SKILL.md and `scripts/` those of `skill`. Returns their digest.

    Each file is replaced in one step, so that a reader sees the old text or the new, never half.
    """
    texts = {SKILL_FILE: skillfile.render(skill), **dict(skill.files)}
    folder = root / skill.name
    for path, text in reversed(texts.items()):  # SKILL.md last: it names what is beside it
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(f".{target.name}.partial")
        partial.write_bytes(text.encode())
        partial.replace(target)
    for path in _scripts(folder):
        if path not in texts:
            _unlink(folder, path)
    return digest(tuple((path, text.encode()) for path, text in texts.items()))


def remove(root: Path, name: str) -> None:
    """Delete what is the skill, and the folder if nothing else is in it."""
    folder = root / name
    if not skillfile.NAME.fullmatch(name) or folder.is_symlink() or not folder.is_dir():
        return
    for path in (*_scripts(folder), SKILL_FILE):
        _unlink(folder, path)


def read_regular(path: Path, most_bytes: int) -> bytes:
    """The bytes of a regular file. Raises `SkillError` for a link, a device, a pipe, or what is too large."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise SkillError(f"{path.name} is a symbolic link") from error
        raise
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise SkillError(f"{path.name} is no regular file")
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise SkillError(f"{path.name} is larger than {most_bytes} bytes")
    return content


def _scripts(folder: Path) -> list[str]:
    found = list(_below(folder / SCRIPTS, SCRIPTS, depth=3))
    if len(found) > MAX_SCRIPTS:
        raise SkillError(f"it has more than {MAX_SCRIPTS} scripts")
    return sorted(found)


def _below(folder: Path, prefix: str, depth: int) -> Iterator[str]:
    if not folder.is_dir() or folder.is_symlink():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            path = f"{prefix}/{entry.name}"
            if entry.name.startswith(".") or entry.name in NOT_OURS:
                continue
            if entry.is_dir(follow_symlinks=False):
                if depth > 1:
                    yield from _below(folder / entry.name, path, depth - 1)
            else:
                yield path


def _unlink(folder: Path, path: str) -> None:
    (folder / path).unlink(missing_ok=True)
    for parent in (folder / path).parents:
        if parent == folder.parent:
            return
        try:
            parent.rmdir()
        except OSError:  # something else is in it
            return


def _text(path: str, content: bytes) -> str:
    try:
        return content.decode("utf-8-sig" if path == SKILL_FILE else "utf-8")
    except UnicodeDecodeError as error:
        raise SkillError(f"{path} is not UTF-8 text") from error
