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
    """Row i of `dense` and `postings` is of `skills[i]`."""

    skills: tuple[Skill, ...]
    rows: Mapping[str, int]
    dense: Dense
    postings: Postings

    @classmethod
    def of(cls, skills: Sequence[Skill], vectors: Vectors) -> Segment:
        """`vectors` are those of the skills, from `skill_vectors`."""
        texts = ("\n".join(facets(skill)) for skill in skills)
        return cls(tuple(skills), _numbered(skills), Dense.of(vectors), Postings.of(texts))

    def __len__(self) -> int:
        return len(self.skills)


def skill_vectors(skills: Sequence[Skill], embed: Embed) -> Vectors:
    """One vector a skill."""
    texts = [text for skill in skills for text in facets(skill)]
    return combined(embed(texts or [""])[: len(texts)])


def combined(of_facets: Vectors) -> Vectors:
    """One vector of each skill's three, in their order: each facet counts the same, however long it is."""
    return unit(of_facets.reshape(-1, FACETS, of_facets.shape[1]).sum(axis=1))


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
    return Segment(skills, _numbered(skills), dense, joined(moves, done))


def key(skill: Skill) -> bytes:
    """A digest of all that a row is made from."""
    text = "\0".join([skill.name, skill.description, skill.body, *(cue for _, cue in skill.cues)])
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=KEY_BYTES).digest()


def save(segment: Segment, embedder: str, path: Path) -> None:
    """Write the segment in one step. Raises `CacheError` where that is not possible."""
    postings, dense = segment.postings, segment.dense
    keys = np.frombuffer(b"".join(map(key, segment.skills)), dtype=np.uint8).reshape(-1, KEY_BYTES)
    vocabulary = np.frombuffer("\n".join(postings.vocabulary).encode(), dtype=np.uint8)
    content = io.BytesIO()
    np.savez(
        content, made_by=np.array([_maker(embedder)]), keys=keys, vocabulary=vocabulary, starts=postings.starts,
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
    by_key = {key(skill): skill for skill in live}
    skills = tuple(by_key.get(raw[at : at + KEY_BYTES], NOBODY) for at in range(0, len(raw), KEY_BYTES))
    return Segment(skills, _numbered(skills), dense, postings)


def _check_shapes(postings: Postings, dense: Dense) -> None:
    """Raise `ValueError` where the parts are not of one segment."""
    postings_end = {len(postings.rows), len(postings.impacts), int(postings.starts[-1])}
    rows = {postings.count, len(dense.codes), len(dense.scales), dense.signs.shape[1]}
    if len(postings_end) > 1 or len(rows) > 1 or postings.rows.max(initial=-1) >= postings.count:
        raise ValueError("its arrays do not fit together")


def _numbered(skills: Iterable[Skill]) -> dict[str, int]:
    return {skill.name: row for row, skill in enumerate(skills) if skill is not NOBODY}


def _checksum(content: memoryview) -> bytes:
    return zlib.crc32(content).to_bytes(CHECKSUM_BYTES, "big")


def _maker(embedder: str) -> str:
    return f"{FORMAT} {embedder}"


NOBODY = Skill("", "", "")
