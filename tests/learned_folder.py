"""A data folder in which something was learned of every kind, and what is learned there, to be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from metaclaw.config.settings import Settings
from metaclaw.journal import trajectories
from metaclaw.library.catalog import Catalog
from metaclaw.runtime.home import Home
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.jobs import Jobs
from metaclaw.training.registry import Registry
from metaclaw.types import Adapter, AdapterState, Skill, SkillKind, SkillState
from running_gateway import SKILL
from small_adapter import write_adapter

SCRIPT = ("scripts/run.py", "def run(): pass\n")
CODE = Skill("adds", "Adds two numbers", "Call it.", kind=SkillKind.CODE, files=(SCRIPT,))


def home_of(folder: Path) -> Home:
    return Home(Settings(data_dir=folder))


def learned(folder: Path) -> Adapter:
    """A data folder with turns, two live skills, and an adapter that is wanted."""
    home = home_of(folder)
    with Database(home.store) as database:
        catalog = Catalog(database, "default", home.skills)
        for skill in (SKILL, CODE):
            catalog.publish(skill, SkillState.ACTIVE, "test", [])
        registry = Registry(database, "default", home.adapters)
        adapter = registry.register(write_adapter(folder / "out"), "tiny", None, {"job": "train-1"})
        registry.set_state(adapter.name, AdapterState.PROMOTED)
        Routes(database, "default").want(adapter.name, "promoted by a test")
        assert Jobs(database, "default", home.jobs).take()
        return adapter


def state_of(folder: Path) -> dict[str, Any]:
    home = home_of(folder)
    with Database(home.store) as database:
        catalog = Catalog(database, "default", home.skills)
        return {
            "skills": catalog.snapshot(), "history": [catalog.history(skill.name) for skill in (SKILL, CODE)],
            "turns": [turn.id for turn in trajectories.turns_after(database, "default", 0, 100)],
            "wanted": Routes(database, "default").state().wanted,
            "files": {str(path.relative_to(home.skills)): path.read_bytes() for path in home.skills.rglob("*.*")},
        }
