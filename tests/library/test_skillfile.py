"""SKILL.md: strict when written (by the standard's own validator), lenient when read."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import skills_ref
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclaw.errors import SkillError
from metaclaw.library import folder
from metaclaw.library.skillfile import MAX_BODY, MAX_DESCRIPTION, check, parse, render
from metaclaw.types import Skill, SkillState
from support import make_skill

NAMES = st.from_regex(r"[a-z0-9]{1,8}(-[a-z0-9]{1,8}){0,3}", fullmatch=True)
PROSE = st.text(
    st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Cn", "Co", "Zl", "Zp"])
    | st.sampled_from("\n:#'\"-&*|>{}[]"),
    min_size=1, max_size=200,
).filter(lambda text: bool(text.strip()))


@settings(max_examples=40, deadline=None)
@given(NAMES, PROSE, PROSE)
def test_what_is_written_passes_the_standard_and_reads_back(name: str, description: str, body: str) -> None:
    skill = Skill(name, description, body, version=3, state=SkillState.TRIAL, origin="model")
    with tempfile.TemporaryDirectory() as root:
        folder.write(Path(root), skill)
        assert skills_ref.validate(Path(root) / name) == []
        read = parse((Path(root) / name / "SKILL.md").read_text(encoding="utf-8"))
    assert (read.name, read.version, read.origin) == (name, 3, "model")
    assert read.description == description.strip()
    assert read.body == body.strip()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"name": "Upper"}, "name 'Upper'"), ({"name": "a--b"}, "name"), ({"name": "-a"}, "name"),
        ({"name": "../up"}, "name"), ({"name": "a" * 65}, "name"), ({"description": " "}, "description"),
        ({"description": "d" * (MAX_DESCRIPTION + 1)}, "description"), ({"body": ""}, "body"),
        ({"body": "b" * (MAX_BODY + 1)}, "body"),
    ],
)
def test_what_breaks_the_standard_is_not_written(tmp_path: Path, changes: dict[str, str], complaint: str) -> None:
    root = tmp_path / "skills"
    with pytest.raises(SkillError, match=complaint):
        folder.write(root, make_skill(**changes))
    assert list(tmp_path.rglob("*")) == []


def test_all_that_is_wrong_is_said_at_once() -> None:
    with pytest.raises(SkillError, match=r"name .*; description .*; body"):
        check(Skill("No", "", ""))


@pytest.mark.parametrize(
    ("text", "name", "version"),
    [
        ("---\ndescription: d\nlicense: MIT\nallowed-tools: [Bash]\n---\nDo it.\n", "folder", 1),
        ("\ufeff---\nname: own\ndescription: d\nmetadata: {version: '4'}\n---   \n\nDo it.", "own", 4),
        ("---\nname: own\ndescription: d\nmetadata: free text\n---\nDo it.", "own", 1),
        ("---\r\nname: own\r\ndescription: d\r\nmetadata:\r\n  version: new\r\n---\r\nDo it.", "own", 1),
        ("---\nname: own\ndescription: d\nmetadata:\n  version: '²'\n---\nDo it.", "own", 1),
    ],
)
def test_strangers_files_are_read_leniently(text: str, name: str, version: int) -> None:
    read = parse(text, fallback_name="folder")
    assert (read.name, read.version, read.body) == (name, version, "Do it.")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("---\nname: &a x\ndescription: *a\n---\nb", "aliases"),
        ("---\na: &a [x]\nb: &b [*a, *a]\nname: n\ndescription: d\n---\nb", "aliases"),
        ("no front matter", "must begin"),
        ("---\n- a\n- b\n---\nbody", "mapping"),
        ("---\nname: [\n---\nbody", "not valid YAML"),
        ("---\nname: n\ndescription: d\ncreated: 2026-99-99\n---\nbody", "not valid YAML"),
        ("---\nname: " + "[" * 600 + "\n---\nbody", "not valid YAML"),
        ("---\nname: n\n---\nbody", "description"),
        ("---\nname: n\ndescription: d\n---\n", "body"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, complaint: str) -> None:
    with pytest.raises(SkillError, match=complaint):
        parse(text)


def test_a_folder_is_replaced_whole_and_removed_by_its_name_only(tmp_path: Path) -> None:
    root = tmp_path / "skills"
    folder.write(root, make_skill("a", "old"))
    folder.write(root, make_skill("a", "new", version=2))
    assert [path.name for path in (root / "a").iterdir()] == ["SKILL.md"]
    assert "new" in (root / "a" / "SKILL.md").read_text(encoding="utf-8")
    folder.remove(root, "../skills")
    assert root.exists()
    folder.remove(root, "a")
    assert list(root.iterdir()) == []


def test_rendering_is_the_same_every_time() -> None:
    assert render(make_skill()) == render(make_skill())
