"""What tests of several rooms share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from metaclaw.store import Database
from processes import children
from shell import Shell

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
