"""The watch over the library's folder: what a person does there is live within a second."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.library.watch import Prove, Watch
from metaclaw.runtime.library import edits_of
from metaclaw.store import Database
from metaclaw.tasks import Tasks
from metaclaw.types import Skill, SkillKind, SkillState, Verdict
from support import NAMESPACE, make_skill

ACTIVE = SkillState.ACTIVE
GIT = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "init.defaultBranch=main"]


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    return Catalog(database, NAMESPACE, tmp_path / "skills")


@asynccontextmanager
async def watched(catalog: Catalog, prove: Prove | None = None) -> AsyncIterator[Watch]:
    """A watch that already hears of changes."""
    watch, tasks = Watch(catalog, edits_of(catalog, Redactor()), prove), Tasks()
    await watch.begin()
    tasks.start(watch.run())
    try:
        await within(10, lambda: watch.hears)
        yield watch
    finally:
        await tasks.end()


async def within(seconds: float, condition: Callable[[], bool]) -> float:
    """How long it took to hold; fails if it does not in time."""
    begun = time.monotonic()
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
    return time.monotonic() - begun


def bodies(catalog: Catalog) -> dict[str, str]:
    return {skill.name: skill.body for skill in catalog.live()}


def text_of(catalog: Catalog, name: str) -> Path:
    return catalog.folder / name / "SKILL.md"


def save(file: Path, old: str, new: str) -> None:
    file.write_text(file.read_text("utf-8").replace(old, new), encoding="utf-8")


def save_by_rename(file: Path, old: str, new: str) -> None:
    """As vim and many others save: the old file becomes a backup, the new one is written beside it and renamed."""
    beside = file.with_name("4913")
    beside.write_text(file.read_text("utf-8").replace(old, new), encoding="utf-8")
    file.rename(file.with_name("SKILL.md~"))
    beside.rename(file)
    file.with_name("SKILL.md~").unlink()


@pytest.mark.parametrize("how", [save, save_by_rename])
async def test_a_saved_file_is_live_within_a_second(catalog: Catalog, how: Callable[[Path, str, str], None]) -> None:
    catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    async with watched(catalog):
        for number, (old, new) in enumerate([("one", "two"), ("two", "three")], start=2):
            how(text_of(catalog, "a"), old, new)
            assert await within(5, lambda now=new: bodies(catalog) == {"a": now}) < 1  # type: ignore[misc]
            assert catalog.generation() == number


async def test_folders_made_copied_and_deleted(catalog: Catalog, tmp_path: Path) -> None:
    async with watched(catalog):
        folder = catalog.folder / "mine"
        folder.mkdir()
        (folder / "SKILL.md").write_text("---\nname: mine\ndescription: d\n---\nMine.\n")
        await within(5, lambda: bodies(catalog) == {"mine": "Mine."})
        (tmp_path / "yours").mkdir()
        (tmp_path / "yours" / "SKILL.md").write_text("---\nname: yours\ndescription: d\n---\nYours.\n")
        (tmp_path / "yours").rename(catalog.folder / "yours")
        await within(5, lambda: set(bodies(catalog)) == {"mine", "yours"})
        shutil.rmtree(folder)
        await within(5, lambda: set(bodies(catalog)) == {"yours"})
    assert catalog.generation() == 3


async def test_what_we_write_ourselves_comes_back_as_nothing(catalog: Catalog) -> None:
    async with watched(catalog):
        for number in range(5):
            skill, _ = catalog.publish(make_skill("a", f"Rule {number}."), SkillState.TRIAL, "new", [])
            catalog.change_state(skill, ACTIVE, "proved")
        catalog.retire("a", "no longer wanted")
        text = text_of(catalog, "last")
        text.parent.mkdir()
        text.write_text("---\nname: last\ndescription: d\n---\nHeard after all of it.\n")
        await within(5, lambda: "last" in bodies(catalog))
    assert catalog.generation() == 7
    assert {skill.origin for skill in catalog.versions("a")} == {"extractive"}


async def test_git_checkout_and_back(catalog: Catalog) -> None:
    def git(*arguments: str) -> None:
        subprocess.run([*GIT, "-C", str(catalog.folder), *arguments], check=True, capture_output=True)

    catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    catalog.publish(make_skill("b", "stays"), ACTIVE, "new", [])
    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    async with watched(catalog):
        git("checkout", "-b", "other")
        save(text_of(catalog, "a"), "one", "two")
        await within(5, lambda: bodies(catalog) == {"a": "two", "b": "stays"})
        git("rm", "-r", "b")
        git("commit", "-am", "second")
        await within(5, lambda: bodies(catalog) == {"a": "two"})
        git("checkout", "main")
        await within(5, lambda: bodies(catalog) == {"a": "one", "b": "stays"})
        git("checkout", "other")
        await within(5, lambda: bodies(catalog) == {"a": "two"})
    assert (catalog.folder / ".git").is_dir()


async def test_a_library_that_is_moved_away_is_written_anew_and_watched_again(catalog: Catalog, tmp_path: Path) -> None:
    catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    async with watched(catalog):
        catalog.folder.rename(tmp_path / "aside")
        await within(10, text_of(catalog, "a").exists)
        save(text_of(catalog, "a"), "one", "two")
        await within(10, lambda: bodies(catalog) == {"a": "two"})


async def test_where_the_system_does_not_tell_it_looks(catalog: Catalog) -> None:
    async def refused(root: Path) -> AsyncGenerator[set[str], None]:
        raise OSError(28, f"too many watches, among them {root}")
        yield set()

    catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    watch, tasks = Watch(catalog, edits_of(catalog, Redactor()), changes=refused), Tasks()
    tasks.start(watch.run())
    for old, new in (("one", "two"), ("two", "three")):
        save(text_of(catalog, "a"), old, new)
        await within(10, lambda now=new: bodies(catalog) == {"a": now})  # type: ignore[misc]
    assert not watch.hears
    await tasks.end()


async def test_what_the_system_did_not_tell_is_found_by_a_sweep(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def deaf(root: Path) -> AsyncGenerator[set[str], None]:
        while root.is_dir():
            yield set()
            await asyncio.sleep(0.01)

    monkeypatch.setattr("metaclaw.library.watch.SWEEP_SECONDS", 0.1)
    catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    watch, tasks = Watch(catalog, edits_of(catalog, Redactor()), changes=deaf), Tasks()
    tasks.start(watch.run())
    await within(10, lambda: watch.hears)
    save(text_of(catalog, "a"), "one", "two")
    await within(10, lambda: bodies(catalog) == {"a": "two"})
    await tasks.end()


async def test_what_was_changed_while_nobody_watched_is_there_before_anything_else(catalog: Catalog) -> None:
    catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    save(text_of(catalog, "a"), "one", "two")
    await Watch(catalog, edits_of(catalog, Redactor())).begin()
    assert bodies(catalog) == {"a": "two"}


@pytest.mark.parametrize(("decision", "state"), [("admitted: passes", ACTIVE), ("rejected", SkillState.CANDIDATE)])
async def test_changed_scripts_go_live_by_their_tests(catalog: Catalog, decision: str, state: SkillState) -> None:
    async def prove(skill: Skill) -> Verdict:
        return Verdict(f"skill:{skill.ref}", "without", "with", 2, 1.0, 0.75, decision, {})

    script = "def add(a: int, b: int) -> int:\n    return a + b\n"
    code = make_skill("adding", "Call it.", kind=SkillKind.CODE, files=(("scripts/add.py", script),))
    catalog.publish(code, ACTIVE, "proved", [])
    async with watched(catalog, prove):
        save(catalog.folder / "adding" / "scripts" / "add.py", "a + b", "b + a")
        await within(5, lambda: bool(catalog.verdicts("adding@2")))
        await within(5, lambda: catalog.versions("adding")[1].state is state)
    assert len(catalog.live()) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
async def test_a_folder_that_may_not_be_read_is_told(catalog: Catalog) -> None:
    catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    text_of(catalog, "a").chmod(0)
    await Watch(catalog, edits_of(catalog, Redactor())).begin()
    assert "cannot be read" in catalog.mirror.all_seen()["a"].problem
