"""Skills out of the library: valid by the standard's own validator, and nothing of others is overwritten."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import skills_ref

from metaclaw.errors import SkillError
from metaclaw.library.export import to_folder, to_zip
from metaclaw.library.foreign import read_source
from metaclaw.types import Skill, SkillKind
from support import make_skill

ODD = make_skill("odd", "# Title\n---\nA rule: `x`.", description='Use "when": it\'s due — #1 & <more>')
CODE = make_skill("adding", "Call it.", kind=SkillKind.CODE, files=(("scripts/add.py", "def add(a: int): ...\n"),))


def validated(folder: Path) -> bool:
    """By the command of the standard's reference library."""
    command = [str(Path(sys.executable).with_name("agentskills")), "validate", str(folder)]
    return subprocess.run(command, capture_output=True, timeout=60).returncode == 0


def test_exported_folders_pass_the_standard(tmp_path: Path) -> None:
    written = to_folder(tmp_path / "out", [ODD, CODE])
    assert [path.name for path in written] == ["odd", "adding"]
    assert all(skills_ref.validate(folder) == [] for folder in written)
    assert validated(written[0])
    assert (written[1] / "scripts" / "add.py").read_text() == CODE.files[0][1]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["adding", "odd"]


def test_ours_is_written_again_and_stale_scripts_go(tmp_path: Path) -> None:
    to_folder(tmp_path, [CODE])
    to_folder(tmp_path, [make_skill("adding", "No code any more.")])
    assert "No code" in (tmp_path / "adding" / "SKILL.md").read_text()
    assert not (tmp_path / "adding" / "scripts").exists()


def test_what_is_not_ours_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "SKILL.md").write_text("theirs")
    (tmp_path / "aside").mkdir()
    with pytest.raises(SkillError, match="not written by MetaClaw"):
        to_folder(tmp_path, [CODE, ODD])
    assert (tmp_path / "odd" / "SKILL.md").read_text() == "theirs"
    assert not (tmp_path / "adding").exists()
    (tmp_path / "adding").symlink_to(tmp_path / "aside")
    with pytest.raises(SkillError, match="no folder that we wrote"):
        to_folder(tmp_path, [CODE])
    assert list((tmp_path / "aside").iterdir()) == []


def test_what_was_edited_since_is_kept(tmp_path: Path) -> None:
    [folder] = to_folder(tmp_path, [ODD])
    with (folder / "SKILL.md").open("a") as file:
        file.write("Mine.")
    with pytest.raises(SkillError, match="changed since"):
        to_folder(tmp_path, [ODD])
    assert (folder / "SKILL.md").read_text().endswith("Mine.")
    [folder] = to_folder(tmp_path / "other", [ODD])
    (folder / "notes.txt").write_text("Mine.")
    with pytest.raises(SkillError, match="changed since"):
        to_folder(tmp_path / "other", [ODD])
    assert (folder / "notes.txt").exists()


def test_a_zip_reads_back_and_is_the_same_every_time(tmp_path: Path) -> None:
    first, second = to_zip(tmp_path / "a.zip", [CODE, ODD]), to_zip(tmp_path / "b.zip", [CODE, ODD])
    assert first.read_bytes() == second.read_bytes()
    assert zipfile.ZipFile(first).namelist() == ["adding/SKILL.md", "adding/scripts/add.py", "odd/SKILL.md"]
    read = {one.skill.name: one.skill for one in read_source(first) if one.skill}
    assert read["odd"].body == ODD.body
    assert (read["adding"].kind, read["adding"].files) == (SkillKind.INSTRUCTION, CODE.files)
    with pytest.raises(SkillError, match="there already"):
        to_zip(first, [ODD])


def test_what_breaks_the_standard_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(SkillError, match="name"):
        to_folder(tmp_path, [Skill("Bad Name", "d", "b")])
    assert list(tmp_path.iterdir()) == []
