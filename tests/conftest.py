"""What tests of several rooms share."""

from __future__ import annotations

import shutil
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings

from metaclaw.store import Database
from processes import children
from shell import Shell

# A test's deadline would be a timed test, which fails where the machine is busy.
settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")

if TYPE_CHECKING:
    from office_dashboard import Office

MODELS = Path("~/.metaclaw/models").expanduser()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database(tmp_path / "store.db") as opened:
        yield opened


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """Fails the test if a process of ours is still there afterwards."""
    before = children()
    yield
    assert children() - before == set()


@pytest.fixture(scope="session")
def smollm2_gguf() -> Path:
    """The SmolLM2-135M weights, downloaded once and kept where MetaClaw keeps them."""
    from metaclaw.serving.fetch import Silent
    from metaclaw.serving.weights import resolve

    return resolve("smollm2-135m", MODELS, Silent()).path


@pytest.fixture(scope="session")
def smollm2_folder(smollm2_gguf: Path) -> Path:
    """The same weights, made trainable."""
    from metaclaw.training.model import prepare

    return prepare(smollm2_gguf, MODELS / "trainable", lambda _: None)


@pytest.fixture(scope="session")
def seeded_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with three weeks of history, made once: tests change copies of it."""
    import three_weeks

    home = tmp_path_factory.mktemp("office") / "home"
    three_weeks.fill(home, time.time())
    return home


@pytest.fixture
def office_home(seeded_home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(seeded_home, tmp_path / "home"))


@pytest.fixture
async def office(office_home: Path) -> AsyncIterator[Office]:
    """A dashboard over those weeks."""
    from office_dashboard import opened

    async with opened(office_home) as found:
        yield found


@pytest.fixture
async def empty_office(tmp_path: Path) -> AsyncIterator[Office]:
    """The same before anything happened."""
    from office_dashboard import opened

    async with opened(tmp_path / "new") as found:
        yield found
