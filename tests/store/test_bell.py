"""The bell: what one process rings, another hears."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from metaclaw.store.bell import Bell

RING = "import sys; from pathlib import Path; from metaclaw.store.bell import Bell; Bell(Path(sys.argv[1])).ring()"


def test_a_ring_is_heard_once_and_by_all(tmp_path: Path) -> None:
    ours, theirs = Bell(tmp_path / "store.db"), Bell(tmp_path / "store.db")
    before = ours.last_rung()
    assert before == ours.last_rung() == theirs.last_rung()
    theirs.ring()
    assert ours.last_rung() == theirs.last_rung() != before


def test_another_process_is_heard(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "store.db")
    before = bell.last_rung()
    subprocess.run([sys.executable, "-c", RING, str(tmp_path / "store.db")], check=True)
    assert bell.last_rung() != before


def test_a_folder_that_is_not_there_makes_a_bell_that_says_nothing(tmp_path: Path) -> None:
    bell = Bell(tmp_path / "nowhere" / "store.db")
    bell.ring()
    assert bell.last_rung() == b""
