"""A block of indexed skills, made once and never changed; kept on disk so that a start need not make it again.

The file is a cache: it may be deleted at any time. Each row carries a digest of the text that it was made from, so that
a row is used again only for the very same text, and the name of the embedder, whose vectors fit no other's.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from metaclaw.context.dense import Dense, Numbers, Vectors, unit
from metaclaw.context.embed import Embed
from metaclaw.context.postings import Postings, joined
from metaclaw.context.text import FACETS, facets
from metaclaw.errors import CacheError
from metaclaw.types import Skill

FORMAT = 4  # raise it with any change to what a row is made of: facets, words, impacts, signs
KEY_BYTES = 16
CHECKSUM_BYTES = 4  # before the rest of the file


@dataclass(frozen=True, slots=True)
class Segment:
    """Row i of `dense` and `postings` is of `skills[i]`: its text, or one of its cues, which follow right after it.

    `rows` names the row of each skill's text; `owners` holds, for every row, the row of its skill's text.
    """

    skills: tuple[Skill, ...]
    rows: Mapping[str, int]
    owners: Numbers
    dense: Dense
    postings: Postings

    @classmethod
    def of(cls, skills: Sequence[Skill], vectors: Vectors) -> Segment:
        """`vectors` are those of the skills, from `skill_vectors`."""
        texts = (text for skill in skills for text in ("\n".join(facets(skill)), *_cues(skill)))
        by_row = tuple(skill for skill in skills for _ in range(_rows_of(skill)))
        return cls(by_row, _numbered(by_row), _owners(by_row), Dense.of(vectors), Postings.of(texts))

    def rows_of(self, name: str) -> range:
        """All rows of a skill."""
        first = self.rows.get(name)
        return range(0) if first is None else range(first, first + _rows_of(self.skills[first]))

    def __len__(self) -> int:
        return len(self.skills)


def skill_vectors(skills: Sequence[Skill], embed: Embed) -> Vectors:
    """One vector a skill, and one for each of its cues, right behind."""
    texts = texts_of(skills)
    return combined(skills, embed(texts or [""])[: len(texts)])


def texts_of(skills: Sequence[Skill]) -> list[str]:
    """What is embedded of skills."""
    return [text for skill in skills for text in (*facets(skill), *_cues(skill))]


def combined(skills: Sequence[Skill], vectors: Vectors) -> Vectors:
    """From the vectors of `texts_of`: each facet of a skill counts the same, however long it is."""
    sizes = np.array([size for skill in skills for size in (FACETS, *[1] * len(skill.cues))], dtype=np.int64)
    if not len(sizes):
        return vectors
    found: Vectors = np.add.reduceat(vectors, np.cumsum(sizes) - sizes, axis=0)
    return unit(found)


def join(parts: Sequence[tuple[Segment, Numbers]]) -> Segment:
    """One segment of the named rows of several."""
    skills = tuple(part.skills[row] for part, rows in parts for row in rows.tolist())
    moves, done = list[tuple[Postings, Numbers]](), 0
    for part, rows in parts:
        moved = np.full(len(part), -1, dtype=np.int64)
        moved[rows] = np.arange(done, done + len(rows))
        moves.append((part.postings, moved))
        done += len(rows)
    dense = Dense.joined([part.dense.taken(rows) for part, rows in parts])
    return Segment(skills, _numbered(skills), _owners(skills), dense, joined(moves, done))


def keys(skill: Skill) -> list[bytes]:
    """For each of its rows a digest of all that the skill's rows are made from."""
    text = "\0".join([skill.name, skill.description, skill.body, *_cues(skill)])
    whole = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES)
    found = [whole.digest()]
    for _ in skill.cues:
        whole.update(b"\0cue")
        found.append(whole.digest())
    return found


def save(segment: Segment, embedder: str, path: Path) -> None:
    """Write the segment in one step. Raises `CacheError` where that is not possible."""
    postings, dense = segment.postings, segment.dense
    firsts = [skill for row, skill in enumerate(segment.skills) if segment.owners[row] == row]
    of_rows = np.frombuffer(b"".join(b"".join(keys(skill)) for skill in firsts), dtype=np.uint8)
    vocabulary = np.frombuffer("\n".join(postings.vocabulary).encode(), dtype=np.uint8)
    content = io.BytesIO()
    np.savez(
        content, made_by=np.array([_maker(embedder)]), keys=of_rows, vocabulary=vocabulary, starts=postings.starts,
        rows=postings.rows, impacts=postings.impacts, codes=dense.codes, scales=dense.scales, signs=dense.signs,
    )
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as out:
            out.write(_checksum(content.getbuffer()))
            out.write(content.getbuffer())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise CacheError(f"The index could not be kept in {path} ({error}); each start makes it anew.") from error


def load(path: Path, embedder: str, live: Sequence[Skill]) -> Segment | None:
    """What was saved, if anything of this kind was. `rows` names only what is live; other rows hold `NOBODY`.

    Raises `CacheError` for a file that is not whole.
    """
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise CacheError(f"The index in {path} cannot be read ({error}) and is made anew.") from error
    if content[:CHECKSUM_BYTES] != _checksum(content[CHECKSUM_BYTES:]):
        raise CacheError(f"The index in {path} is damaged and is made anew.")
    try:
        with np.load(io.BytesIO(content[CHECKSUM_BYTES:]), allow_pickle=False) as file:
            if str(file["made_by"][0]) != _maker(embedder):
                return None
            raw = file["keys"].tobytes()
            vocabulary = file["vocabulary"].tobytes().decode().split("\n")
            postings = Postings(
                len(raw) // KEY_BYTES, {word: number for number, word in enumerate(vocabulary)},
                file["starts"], file["rows"], file["impacts"],
            )
            dense = Dense(file["codes"], file["scales"], file["signs"])
            _check_shapes(postings, dense)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:  # whole, but not of our making
        raise CacheError(f"The index in {path} is none of this version ({error}) and is made anew.") from error
    by_key = {key: skill for skill in live for key in keys(skill)}
    skills = tuple(by_key.get(raw[at : at + KEY_BYTES], NOBODY) for at in range(0, len(raw), KEY_BYTES))
    return Segment(skills, _numbered(skills), _owners(skills), dense, postings)


def _check_shapes(postings: Postings, dense: Dense) -> None:
    """Raise `ValueError` where the parts are not of one segment."""
    postings_end = {len(postings.rows), len(postings.impacts), int(postings.starts[-1])}
    rows = {postings.count, len(dense.codes), len(dense.scales), dense.signs.shape[1]}
    if len(postings_end) > 1 or len(rows) > 1 or postings.rows.max(initial=-1) >= postings.count:
        raise ValueError("its arrays do not fit together")


def _numbered(skills: Iterable[Skill]) -> dict[str, int]:
    found: dict[str, int] = {}
    for row, skill in enumerate(skills):
        if skill is not NOBODY:
            found.setdefault(skill.name, row)
    return found


def _owners(skills: Sequence[Skill]) -> Numbers:
    """Rows of one skill stand together; a row of nobody stands alone."""
    first, found = 0, np.arange(len(skills))
    for row, skill in enumerate(skills):
        if not row or skill is not skills[row - 1] or skill is NOBODY:
            first = row
        found[row] = first
    return found


def _cues(skill: Skill) -> list[str]:
    return [text for _, text in skill.cues]


def _rows_of(skill: Skill) -> int:
    return 1 + len(skill.cues)


def _checksum(content: memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big")


def _maker(embedder: str) -> str:
    return f"{FORMAT} {embedder}"


NOBODY = Skill("", "", "")
