"""A saved segment comes back for the same texts and the same embedder only, and a damaged file is told."""

from __future__ import annotations

import dataclasses
import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaclaw.context.segment import FORMAT, NOBODY, Segment, join, load, save, skill_vectors
from metaclaw.errors import CacheError
from metaclaw.types import Skill
from support import embedder, make_skill

SKILLS = [make_skill("tide-tables", "Rule: tides in metres."), make_skill("ropes", "Rule: ropes are red."),
          make_skill("glocken", "Regel: Glocken läuten um acht. 鐘は八時に鳴る。")]
NAME = "an embedder"


def made(skills: list[Skill]) -> Segment:
    return Segment.of(skills, skill_vectors(skills, embedder().embed))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "indexes" / "static.npz"
    save(made(SKILLS), NAME, path)
    return path


def test_what_was_saved_comes_back(file: Path) -> None:
    found, fresh = load(file, NAME, SKILLS), made(SKILLS)
    assert found is not None
    assert (found.skills, found.rows) == (fresh.skills, fresh.rows)
    for word in ("tide", "rope", "glocken", "八時", "zeppelin"):
        assert found.postings.scores({word: 1.0}).tolist() == fresh.postings.scores({word: 1.0}).tolist()
    assert np.array_equal(found.dense.codes, fresh.dense.codes)
    assert np.array_equal(found.dense.signs, fresh.dense.signs)


def test_a_changed_text_is_another_text(file: Path) -> None:
    changed = dataclasses.replace(SKILLS[1], body="Rule: ropes are blue.", version=2)
    found = load(file, NAME, [SKILLS[0], changed])
    assert found is not None
    assert found.skills == (SKILLS[0], NOBODY, NOBODY)
    assert found.rows == {"tide-tables": 0}


def test_the_same_text_in_a_later_version_is_found(file: Path) -> None:
    again = dataclasses.replace(SKILLS[0], version=7)
    found = load(file, NAME, [again])
    assert found is not None
    assert found.skills[0].version == 7


def test_no_file_and_another_embedders_file_are_no_segment(file: Path, tmp_path: Path) -> None:
    assert load(tmp_path / "nothing", NAME, SKILLS) is None
    assert load(file, "another embedder", SKILLS) is None


@given(at=st.integers(0, 10**9), bit=st.integers(0, 7))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
def test_a_flipped_bit_is_told(file: Path, at: int, bit: int) -> None:
    whole = file.read_bytes()
    spoilt = bytearray(whole)
    spoilt[at % len(whole)] ^= 1 << bit
    damaged = file.with_name("damaged.npz")
    damaged.write_bytes(spoilt)
    with pytest.raises(CacheError, match="damaged"):
        load(damaged, NAME, SKILLS)


def test_a_file_of_another_making_is_told(file: Path) -> None:
    content = io.BytesIO()
    np.savez(content, made_by=np.array([f"{FORMAT} {NAME}"]))
    file.write_bytes(zlib.crc32(content.getbuffer()).to_bytes(4, "big") + content.getvalue())
    with pytest.raises(CacheError, match="none of this version"):
        load(file, NAME, SKILLS)


@pytest.mark.parametrize("length", [0, 1, 100, 2_000])
def test_half_a_file_is_told(file: Path, length: int) -> None:
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(CacheError, match="made anew"):
        load(file, NAME, SKILLS)


def test_a_place_that_cannot_be_written_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match="could not be kept"):
        save(made(SKILLS), NAME, tmp_path / "file" / "static.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_joining_takes_the_named_rows_in_order() -> None:
    one, two = made(SKILLS[:2]), made(SKILLS[2:])
    both = join([(one, np.array([1])), (two, np.array([0]))])
    assert both.skills == (SKILLS[1], SKILLS[2])
    assert both.rows == {"ropes": 0, "glocken": 1}
    assert both.postings.scores({"rope": 1.0})[0] > 0
    assert len(join([(one, np.zeros(0, dtype=np.int64))])) == 0


def test_cues_are_kept_with_their_skill_and_changed_ones_are_none_of_it(tmp_path: Path) -> None:
    cued = dataclasses.replace(SKILLS[0], cues=(("t1", "When is high water?"), ("t2", "Draw the tides.")))
    save(made([cued, SKILLS[1]]), NAME, tmp_path / "static.npz")
    found = load(tmp_path / "static.npz", NAME, [cued, SKILLS[1]])
    assert found is not None
    assert (found.skills, found.rows) == ((cued, cued, cued, SKILLS[1]), {"tide-tables": 0, "ropes": 3})
    assert found.owners.tolist() == [0, 0, 0, 3]
    assert list(found.rows_of("tide-tables")) == [0, 1, 2]
    save(found, NAME, tmp_path / "again.npz")
    wider = dataclasses.replace(cued, cues=(*cued.cues, ("t3", "Is it ebb?")))
    again = load(tmp_path / "again.npz", NAME, [wider, SKILLS[1]])
    assert again is not None
    assert again.rows == {"ropes": 3}
    assert again.skills[:3] == (NOBODY,) * 3
