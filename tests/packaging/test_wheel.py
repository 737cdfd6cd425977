"""What is installed: a wheel built from a copy of the source, unpacked by pip, and started from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from metaclaw import __version__

ROOT = Path(__file__).parent.parent.parent
PACKAGE = ROOT / "src" / "metaclaw"
USES_ITS_DATA = """
import sys, pathlib
import metaclaw
from metaclaw.signals.tone import *  # phrases of twelve languages
from metaclaw.store import Database
with Database(pathlib.Path(sys.argv[1]) / "metaclaw.db") as database:
    print(database.read("SELECT count(*) FROM turns")[0][0], pathlib.Path(metaclaw.__file__).parent)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built without a network: from a copy, since setuptools leaves its work beside the source."""
    folder = tmp_path_factory.mktemp("wheel")
    copy = folder / "source"
    shutil.copytree(ROOT / "src", copy / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "NOTICE"):
        shutil.copy(ROOT / name, copy / name)
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(copy))
    [made] = folder.glob("*.whl")
    return made


def pip(*arguments: str) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--no-cache-dir", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_every_file_of_the_package_is_in_the_wheel(wheel: Path) -> None:
    assert wheel.name == f"metaclaw-{__version__}-py3-none-any.whl"
    packed = set(zipfile.ZipFile(wheel).namelist())
    ours = {path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert {path.relative_to(PACKAGE.parent).as_posix() for path in ours} <= packed
    assert {"metaclaw/py.typed", "metaclaw/store/migrations/0001_first.sql"} <= packed
    assert {Path(name).name for name in packed if ".dist-info/" in name} >= {"LICENSE", "NOTICE", "entry_points.txt"}


def test_what_pip_unpacks_runs_and_finds_its_data(wheel: Path, tmp_path: Path) -> None:
    target = tmp_path / "site"
    pip("install", "--no-deps", "--no-index", "--target", str(target), str(wheel))
    environment = {**os.environ, "PYTHONPATH": str(target), "HOME": str(tmp_path)}
    told = subprocess.run(
        [sys.executable, "-c", USES_ITS_DATA, str(tmp_path)], capture_output=True, text=True, env=environment
    )
    assert told.stdout.strip() == f"0 {target / 'metaclaw'}", told.stderr
    script = target / "bin" / "metaclaw"
    asked = subprocess.run([sys.executable, str(script), "--version"], capture_output=True, text=True, env=environment)
    assert asked.stdout == f"metaclaw {__version__}\n", asked.stderr
