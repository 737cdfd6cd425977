"""Embeddings of many skills, small and quick to compare: signs for a first look at all, bytes for a true one at a few.

A row takes one bit and one byte a dimension. The angle between two vectors is close to the share of dimensions in
which their signs differ (Charikar 2002), which 64 bits at a time tell in 0.2 ms for 100,000 rows; the cosines of the
few hundred that are near then come from the bytes, with an error below 0.01.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]
Coarse = npt.NDArray[np.uint16]

WORD_BITS = 64
FULL_SCALE = 127


@dataclass(frozen=True, slots=True)
class Dense:
    """`codes` times `scales` are the rows; `signs[w]` holds signs 64 w to 64 w + 63 of every row."""

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

    @property
    def dimensions(self) -> int:
        return int(self.codes.shape[1])

    def estimates(self, vector: Vectors, scale: int) -> Coarse:
        """`scale` times about the cosine of each row with a unit vector; 0 where that is negative."""
        query = _signs(vector[None, :])[:, 0]
        differing = np.bitwise_count(self.signs[0] ^ query[0]).astype(_counter(self.dimensions), copy=False)
        for word, of_query in zip(self.signs[1:], query[1:], strict=True):
            differing += np.bitwise_count(word ^ of_query)
        found: Coarse = _cosine_of_differing(self.dimensions, scale).take(differing)
        return found

    def vectors(self, rows: Numbers) -> Vectors:
        """The rows as they were, but for the rounding."""
        found: Vectors = self.codes[rows] * self.scales[rows, None]
        return found

    def cosines(self, rows: Numbers, vectors: Vectors) -> Vectors:
        """Of unit vectors (down) with the rows (across).

        Not by matrix product, whose library would call up threads for it: on a busy machine they are waited for.
        """
        found: Vectors = np.vecdot(self.codes[rows].astype(np.float32)[None], vectors[:, None]) * self.scales[rows]
        return found


def unit(vectors: Vectors) -> Vectors:
    """Each row at length 1; a row of zeros stays."""
    lengths = np.linalg.norm(vectors, axis=-1, keepdims=True)
    found: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return found


def _signs(rows: Vectors) -> npt.NDArray[np.uint64]:
    """One bit a dimension, 64 to a word, words first; dimensions are filled up with zeros."""
    missing = -rows.shape[1] % WORD_BITS
    bits = np.pad(rows > 0, ((0, 0), (0, missing)))
    return np.ascontiguousarray(np.packbits(bits, axis=1).view(np.uint64).T)


def _counter(dimensions: int) -> type[np.uint8] | type[np.uint16]:
    return np.uint8 if dimensions < 256 else np.uint16


@cache
def _cosine_of_differing(dimensions: int, scale: int) -> Coarse:
    differing = np.arange(dimensions + 1)
    return (scale * np.cos(np.pi * differing / dimensions).clip(0)).astype(np.uint16)
