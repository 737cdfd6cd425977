"""Skills from elsewhere, read as untrusted text: from a folder, a zip or one file. Nothing is unpacked, nothing runs.

Every read is bounded, links are refused, and an archive that tries to leave its folder is refused as a whole. The text
is read as leniently as the world writes it, and what had to be mended or left out is told. What comes out is an
instruction, whatever the source says of itself: its scripts are kept in the record, and never run or offered.
"""

from __future__ import annotations

import lzma
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from metaclaw.errors import SkillError
from metaclaw.library import folder as disk
from metaclaw.library.lenient import as_skill
from metaclaw.types import Skill

MAX_ARCHIVE_BYTES = 16 * 1024 * 1024
MAX_READ_BYTES = 16 * 1024 * 1024  # of one source, unpacked
MAX_ENTRIES = 5_000
MAX_SKILLS = 500
MAX_DEPTH = 4


@dataclass(frozen=True, slots=True)
class Foreign:
    """One skill that a source holds. `sha256` is of its SKILL.md and scripts, byte for byte.

    `notes` say what was mended or left out; `hidden` whether it held characters that nobody sees. Without a skill,
    `problem` says why.
    """

    source: str
    sha256: str = ""
    skill: Skill | None = None
    notes: tuple[str, ...] = ()
    hidden: bool = False
    problem: str = ""


def read_source(path: Path) -> list[Foreign]:
    """Every skill in a folder (itself one, or of several), a zip, or a single Markdown file.

    Raises `SkillError` where the whole cannot be used: it is not there, hostile, too large, or holds no skill.
    """
    try:
        path = path.resolve(strict=True)  # a link that a person names is theirs; those inside are not followed
        if path.is_dir():
            found = _in_folder(path)
        elif not path.is_file():
            raise SkillError(f"{path} is neither a folder nor a file.")
        elif zipfile.is_zipfile(path):
            found = _in_archive(path)
        else:
            found = [_in_file(path)]
    except (OSError, RuntimeError) as error:
        raise SkillError(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    if not found:
        raise SkillError(f"{path} holds no skill: there is no SKILL.md in it, nor in the folders below.")
    return found


def _in_file(path: Path) -> Foreign:
    if path.suffix.lower() not in (".md", ".markdown", ".txt"):
        raise SkillError(f"{path} is neither a folder, nor a zip, nor a SKILL.md.")
    named = path.parent.name if _is_skill_file(path.name) else path.stem
    return _read(str(path), named, {disk.SKILL_FILE: disk.read_regular(path, disk.MAX_FILE_BYTES)}, [])


def _in_folder(root: Path) -> list[Foreign]:
    found, entries = [], 0
    for folder, names, links in _walk(root):
        entries += len(names) + len(links)
        if entries > MAX_ENTRIES:
            raise SkillError(f"{root} holds more than {MAX_ENTRIES} files. Name the skill's own folder.")
        found += [Foreign(str(link), problem="it is a symbolic link: name what it leads to") for link in links]
        if any(map(_is_skill_file, names)):
            found.append(_of_folder(folder))
        if len(found) > MAX_SKILLS:
            raise SkillError(f"{root} holds more than {MAX_SKILLS} skills. Import some of its folders.")
    return sorted(found, key=lambda one: one.source)


def _walk(root: Path) -> Iterator[tuple[Path, list[str], list[Path]]]:
    """Folders, with the names of their files and the links to folders in them. Does not look into skills, or links."""
    waiting = [(root, 0)]
    while waiting:
        folder, depth = waiting.pop()
        with os.scandir(folder) as listed:
            entries = sorted(listed, key=lambda entry: entry.name)
        files = [entry.name for entry in entries if not entry.is_dir()]
        links = [Path(entry.path) for entry in entries if entry.is_symlink() and entry.is_dir()]
        yield folder, files, links
        if depth < MAX_DEPTH and not any(map(_is_skill_file, files)):
            below = [e for e in entries if e.is_dir(follow_symlinks=False) and not e.name.startswith(".")]
            waiting += [(Path(entry.path), depth + 1) for entry in below]


def _of_folder(folder: Path) -> Foreign:
    files: dict[str, bytes] = {}
    others: list[str] = []
    try:
        for path in _files_below(folder):
            kept = _kept(path)
            if kept in files:
                raise SkillError("it holds SKILL.md twice, in other letters")
            if kept is None:
                others.append(path)
            else:
                files[kept] = disk.read_regular(folder / path, disk.MAX_FILE_BYTES)
                _bound(sum(map(len, files.values())))
    except (SkillError, OSError) as error:
        return Foreign(str(folder), problem=str(error))
    return _read(str(folder), folder.name, files, others)


def _files_below(root: Path) -> Iterator[str]:
    """Paths below a skill's folder. Raises `SkillError` for a link among them, or too many."""
    waiting, entries = [root], 0
    while waiting:
        with os.scandir(waiting.pop()) as listed:
            for entry in sorted(listed, key=lambda entry: entry.name):
                path = Path(entry.path).relative_to(root)
                entries += 1
                if entries > MAX_ENTRIES:
                    raise SkillError(f"it holds more than {MAX_ENTRIES} files")
                if entry.is_symlink():
                    raise SkillError(f"it holds a symbolic link ({path.as_posix()})")
                if not entry.is_dir():
                    yield path.as_posix()
                elif not entry.name.startswith("."):
                    waiting.append(Path(entry.path))


def _in_archive(path: Path) -> list[Foreign]:
    if path.stat().st_size > MAX_ARCHIVE_BYTES:
        raise SkillError(f"{path} is larger than {MAX_ARCHIVE_BYTES} bytes.")
    with _opened(path) as archive:
        _refuse_hostile(path, archive.infolist())
        skills = _by_skill([info for info in archive.infolist() if not info.is_dir()])
        if len(skills) > MAX_SKILLS:
            raise SkillError(f"{path} holds more than {MAX_SKILLS} skills.")
        read_bytes, found = 0, []
        for root, below in sorted(skills.items()):
            files: dict[str, bytes] = {}
            for kept, info in ((_kept(inside), info) for inside, info in below.items()):
                if kept:
                    with archive.open(info) as file:
                        files[kept] = file.read(disk.MAX_FILE_BYTES + 1)
                    read_bytes += len(files[kept])
                    _bound(read_bytes)
            others = [inside for inside in below if not _kept(inside)]
            found.append(_read(f"{path}!{root}", root.name or path.stem, files, others))
    return found


def _by_skill(entries: list[zipfile.ZipInfo]) -> dict[PurePosixPath, dict[str, zipfile.ZipInfo]]:
    """The entries below each folder with a SKILL.md, by their path in it. A skill within a skill is part of the outer.
    """
    paths = [PurePosixPath(info.filename) for info in entries]
    roots = {path.parent for path in paths if _is_skill_file(path.name)}
    found: dict[PurePosixPath, dict[str, zipfile.ZipInfo]] = {}
    for path, info in zip(paths, entries, strict=True):
        outer = next((parent for parent in reversed(path.parents) if parent in roots), None)
        if outer is not None:
            found.setdefault(outer, {})[path.relative_to(outer).as_posix()] = info
    return found


@contextmanager
def _opened(path: Path) -> Iterator[zipfile.ZipFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            yield archive
    except (
        zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, LookupError, OSError, struct.error,
        zlib.error, lzma.LZMAError,
    ) as error:  # each a way in which a damaged archive, or one with a password, fails
        raise SkillError(f"{path} cannot be read as a zip: {error}.") from error


def _refuse_hostile(path: Path, entries: list[zipfile.ZipInfo]) -> None:
    if len(entries) > MAX_ENTRIES:
        raise SkillError(f"{path} holds more than {MAX_ENTRIES} entries.")
    if len({str(PurePosixPath(info.filename)).lower() for info in entries}) < len(entries):
        raise SkillError(f"{path} holds the same name twice: which of the two would be taken, nobody can see.")
    for info in entries:
        name = info.orig_filename
        parts = PurePosixPath(name).parts
        if not info.filename or not parts:
            raise SkillError(f"{path} is refused: it holds an entry without a name.")
        if "\\" in name or "\0" in name or name[1:2] == ":" or ".." in parts or name.startswith("/"):
            raise SkillError(f"{path} is refused: its entry {name!r} leads out of the archive.")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise SkillError(f"{path} is refused: its entry {name!r} is a symbolic link.")


def _read(source: str, named: str, files: Mapping[str, bytes], others: list[str]) -> Foreign:
    try:
        if (largest := max(files, key=lambda path: len(files[path]))) and len(files[largest]) > disk.MAX_FILE_BYTES:
            raise SkillError(f"{largest} is larger than {disk.MAX_FILE_BYTES} bytes")
        read = as_skill(named, files, others)
    except SkillError as error:
        return Foreign(source, problem=str(error))
    return Foreign(source, disk.digest(tuple(files.items())), read.skill, read.notes, read.hidden)


def _kept(path: str) -> str | None:
    """Under which path a file below a skill's folder is kept; None for what is left out."""
    if _is_skill_file(path):
        return disk.SKILL_FILE
    parts = PurePosixPath(path).parts
    ours = parts[0] == disk.SCRIPTS and len(parts) > 1
    hidden = any(part.startswith(".") or part in disk.NOT_OURS for part in parts)
    return path if ours and not hidden else None


def _is_skill_file(name: str) -> bool:
    return name.lower() == "skill.md"


def _bound(read_bytes: int) -> None:
    if read_bytes > MAX_READ_BYTES:
        raise SkillError(f"it unpacks to more than {MAX_READ_BYTES} bytes")
