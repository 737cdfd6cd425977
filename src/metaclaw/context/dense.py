"""Embeddings of many skills, small and quick to compare: signs for a first look at all, bytes for a true one at a few.

A row takes a byte a dimension, and 128 bits. The angle between two vectors is close to the share of dimensions in which
their signs differ (Charikar 2002), which takes 0.1 ms for 100,000 rows, 64 signs at a time; the cosines of the hundreds
that are near then come from the bytes, with an error of about 0.01. Signs of the first 128 dimensions do: with those of
all 256 static ones no more right skills were found, in half as much time again.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Coarse = npt.NDArray[np.uint16]

SIGNS = 128
FULL_SCALE = 127


@dataclass(frozen=True, slots=True)
class Dense:
    """`codes` times `scales` are the rows; `signs[w]` holds, of every row, signs 64 w to 64 w + 63."""

    codes: npt.NDArray[np.int8]
    scales: Vectors
    signs: npt.NDArray[np.uint64]

    @classmethod
    def of(cls, vectors: Vectors) -> Dense:
        scales = (np.abs(vectors).max(axis=1, initial=0) / FULL_SCALE).astype(np.float32)
        codes = np.rint(vectors / np.where(scales > 0, scales, 1)[:, None]).astype(np.int8)
        return cls(codes, scales, _signs(vectors))

    @classmethod
    def joined(cls, parts: list[Dense]) -> Dense:
        return cls(
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.scales for part in parts]),
            np.concatenate([part.signs for part in parts], axis=1),
        )

    def taken(self, rows: Numbers) -> Dense:
        return Dense(self.codes[rows], self.scales[rows], np.ascontiguousarray(self.signs[:, rows]))

    def estimates(self, vector: Vectors, scale: int) -> Coarse:
        """`scale` times about the cosine of each row with a unit vector; 0 where that is negative."""
        query = _signs_of_one(vector)
        differing = np.bitwise_count(self.signs[0] ^ query[0])
        for word, of_query in zip(self.signs[1:], query[1:], strict=True):
            differing += np.bitwise_count(word ^ of_query)
        found: Coarse = _cosine_of_differing(min(SIGNS, len(vector)), scale).take(differing)
        return found

    def vectors(self, rows: Numbers) -> Vectors:
        """The rows as they were, but for the rounding."""
        found: Vectors = self.codes.take(rows, axis=0) * self.scales[rows, None]
        return found

    def cosines(self, rows: Numbers, vectors: Vectors) -> Vectors:
        """Of unit vectors (down) with the rows (across).

        Not by matrix product, whose library would call up threads for it: on a busy machine they are waited for.
        """
        found: Vectors = np.vecdot(self.codes.take(rows, axis=0).astype(np.float32)[None], vectors[:, None])
        found *= self.scales[rows]
        return found


def unit(vectors: Vectors) -> Vectors:
    """Each row at length 1; a row of zeros stays."""
    lengths = np.sqrt(np.vecdot(vectors, vectors))
    lengths[lengths == 0] = 1
    found: Vectors = vectors / lengths[..., None]
    return found


def _signs(rows: Vectors) -> npt.NDArray[np.uint64]:
    """One bit a dimension, 64 to a word, words first; what is missing of them is filled up with zeros."""
    bits = np.zeros((len(rows), SIGNS), dtype=bool)
    bits[:, : rows.shape[1]] = rows[:, :SIGNS] > 0
    return np.ascontiguousarray(np.packbits(bits, axis=1).view(np.uint64).T)


def _signs_of_one(vector: Vectors) -> npt.NDArray[np.uint64]:
    """The same of a single vector, in half the time."""
    bytes_ = np.zeros(SIGNS // 8, dtype=np.uint8)
    packed = np.packbits(vector[:SIGNS] > 0)
    bytes_[: len(packed)] = packed
    return bytes_.view(np.uint64)


@cache
def _cosine_of_differing(dimensions: int, scale: int) -> Coarse:
    differing = np.arange(dimensions + 1)
    return (scale * np.cos(np.pi * differing / dimensions).clip(0)).astype(np.uint16)
