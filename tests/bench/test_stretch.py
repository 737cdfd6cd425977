"""A stretch that was cut short begins again with what the gateway's folder held before it."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaclaw.bench.stretch import begin


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "gateway").mkdir()
    (tmp_path / "gateway" / "store.db").write_text("morning")
    return tmp_path / "gateway"


def learn(home: Path, what: str) -> None:
    (home / "store.db").write_text(what)
    (home / "skills" / what).mkdir(parents=True)


def test_what_was_learned_in_it_is_taken_back(home: Path) -> None:
    for number in range(2):
        begin(home, "day2", fresh=False)
        assert [path.name for path in home.iterdir()] == ["store.db"]
        assert (home / "store.db").read_text() == "morning"
        learn(home, f"noon{number}")


def test_the_next_stretch_begins_with_what_was_learned_and_only_its_copy_is_kept(home: Path) -> None:
    begin(home, "day2", fresh=False)
    learn(home, "noon")
    (home.parent / "gateway-before-day3.unfinished").mkdir()  # what a crash left
    begin(home, "day3", fresh=False)
    assert (home / "store.db").read_text() == "noon"
    assert sorted(path.name for path in home.parent.iterdir()) == ["gateway", "gateway-before-day3"]


def test_an_earlier_runs_copy_is_not_put_back(home: Path) -> None:
    begin(home, "day1", fresh=False)
    learn(home, "anew")
    begin(home, "day1", fresh=True)
    assert (home / "store.db").read_text() == "anew"
    learn(home, "more")
    begin(home, "day1", fresh=False)
    assert (home / "store.db").read_text() == "anew"
