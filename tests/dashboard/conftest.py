"""The dashboard over three weeks of history, and before anything happened."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import three_weeks
from office_dashboard import Office, opened


@pytest.fixture(scope="session")
def seeded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made once; tests change copies of it."""
    home = tmp_path_factory.mktemp("office") / "home"
    three_weeks.fill(home, time.time())
    return home


@pytest.fixture
def home(seeded: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(seeded, tmp_path / "home"))


@pytest.fixture
async def office(home: Path) -> AsyncIterator[Office]:
    async with opened(home) as found:
        yield found


@pytest.fixture
async def empty(tmp_path: Path) -> AsyncIterator[Office]:
    """The same before anything happened."""
    async with opened(tmp_path / "new") as found:
        yield found
