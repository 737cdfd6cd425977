"""A skill's files live beside its SKILL.md and in the store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metaclaw.errors import SkillError
from metaclaw.library.catalog import Catalog
from metaclaw.library.skillfile import check, parse
from metaclaw.store import Database
from metaclaw.types import Skill, SkillKind, SkillState

CODE = Skill(
    "add-two", "Adds two numbers.", "Call it for sums.", kind=SkillKind.CODE,
    files=(("scripts/add_two.py", "def add_two(a: int, b: int) -> int:\n    return a + b\n"),),
)


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    with Database(tmp_path / "store.db") as database:
        yield Catalog(database, "default", tmp_path / "skills")


def test_a_code_skill_comes_back_with_its_kind_and_files(catalog: Catalog) -> None:
    catalog.publish(CODE, SkillState.ACTIVE, "a test", [])
    kept = catalog.live()[0]
    assert (kept.kind, kept.files) == (SkillKind.CODE, CODE.files)
    folder = catalog.folder / "add-two"
    assert (folder / "scripts" / "add_two.py").read_text() == CODE.files[0][1]
    assert parse((folder / "SKILL.md").read_text()).kind is SkillKind.CODE


@pytest.mark.parametrize("path", ["../x.py", "/x.py", "SKILL.md", "scripts/../../x.py", ".git/config", "a//b", "a\nb"])
def test_a_path_out_of_the_folder_is_refused(path: str) -> None:
    with pytest.raises(SkillError, match="no path inside"):
        check(Skill("name", "What for.", "Text.", files=((path, "text"),)))
