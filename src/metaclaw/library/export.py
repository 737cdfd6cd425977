"""Skills out of the library, as folders or a zip that any agent with Agent Skills reads.

A folder that we did not write, or that was changed since, is never overwritten: ours carry a hidden file with the hash
of what we wrote.
"""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from metaclaw.errors import SkillError
from metaclaw.library import folder as disk
from metaclaw.library.skillfile import render
from metaclaw.types import Skill

MARK = ".metaclaw"
ZIP_DATE = (1980, 1, 1, 0, 0, 0)  # so that the same skills make the same bytes


def to_folder(root: Path, skills: Sequence[Skill]) -> list[Path]:
    """Write `root`/NAME/ for each. All are checked before the first is written. Returns the folders.

    Raises `SkillError` where one is not ours to overwrite, or cannot be written.
    """
    try:
        for skill in skills:
            _require_ours(root / skill.name)
        root.mkdir(parents=True, exist_ok=True)
        return [_replace(root, skill) for skill in skills]
    except OSError as error:
        raise SkillError(f"{root} cannot be written: {error.strerror}.") from error


def to_zip(path: Path, skills: Sequence[Skill]) -> Path:
    """Write a new zip with NAME/SKILL.md and NAME/scripts/ for each. Raises `SkillError` where there is a file."""
    try:
        with path.open("xb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for skill in skills:
                for inside, text in ((disk.SKILL_FILE, render(skill)), *skill.files):
                    entry = zipfile.ZipInfo(f"{skill.name}/{inside}", ZIP_DATE)
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, text.encode(), zipfile.ZIP_DEFLATED)
    except FileExistsError as error:
        raise SkillError(f"{path} is there already. Name another, or remove it.") from error
    except OSError as error:
        raise SkillError(f"{path} cannot be written: {error.strerror}.") from error
    return path


def _require_ours(folder: Path) -> None:
    if not os.path.lexists(folder):
        return
    if folder.is_symlink() or not folder.is_dir():
        raise SkillError(f"{folder} is there already, and no folder that we wrote. Nothing was written.")
    try:
        written = disk.read_regular(folder / MARK, 1_000).decode().strip()
    except (OSError, SkillError, UnicodeDecodeError) as error:
        raise SkillError(
            f"{folder} was not written by MetaClaw. Nothing was written: rename it, or export elsewhere."
        ) from error
    raw = disk.read(folder.parent, folder.name)
    others = {path.name for path in folder.iterdir()} - {MARK, disk.SKILL_FILE, disk.SCRIPTS}
    if raw is None or raw.sha256 != written or others:
        raise SkillError(f"{folder} was changed since it was exported. Nothing was written: import it, or rename it.")


def _replace(root: Path, skill: Skill) -> Path:
    """Write the folder beside its place, then put it there: a reader sees the old one or the new one."""
    with tempfile.TemporaryDirectory(dir=root, prefix=".metaclaw-") as beside:
        sha256 = disk.write(Path(beside), skill)
        fresh, place = Path(beside) / skill.name, root / skill.name
        (fresh / MARK).write_text(f"{sha256}\n", encoding="utf-8")
        if place.is_dir():
            place.rename(Path(beside) / "old")
        fresh.rename(place)
    return place
