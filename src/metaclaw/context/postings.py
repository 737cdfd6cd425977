"""Which skills hold which words, and how telling each is there: BM25's term weights as an inverted index in arrays.

A word's rarity belongs to the whole library, and comes with the query; everything kept here depends on one skill alone,
so that parts of an index can be joined without reading the skills again. FTS5 ranks the same way, but takes twice as
long for a short request among 100,000 skills, and for a long one 27 ms, where 5 are allowed (the retrieval bench).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from metaclaw.context.text import words

K1, B = 1.2, 0.75  # BM25's usual constants
USUAL_WORDS = 40  # of a skill; a fixed one, since the true mean would move every weight with every skill
LEAST_RARITY = 0.01  # a word that nearly all skills of a large library hold tells none from the others
MOST_POSTINGS = 60_000  # read for one passage, the rarest words first: bounds the time of a request

Rows = npt.NDArray[np.int32]
Weights = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Postings:
    """`rows[starts[w]:starts[w + 1]]` are the skills that hold word `w`, `impacts` how telling it is in each."""

    count: int
    vocabulary: Mapping[str, int]
    starts: npt.NDArray[np.int64]
    rows: Rows
    impacts: Weights

    @classmethod
    def of(cls, texts: Iterable[str]) -> Postings:
        vocabulary: dict[str, int] = {}
        ids, frequencies, lengths, distinct = array("i"), array("i"), array("i"), array("i")
        for text in texts:
            counts = Counter(words(text))
            ids.extend([vocabulary.setdefault(word, len(vocabulary)) for word in counts])
            frequencies.extend(counts.values())
            lengths.append(sum(counts.values()))
            distinct.append(len(counts))
        rows = np.repeat(np.arange(len(lengths), dtype=np.int32), np.array(distinct, dtype=np.int64))
        shares = np.array(lengths, dtype=np.float32)[rows] / USUAL_WORDS
        times = np.array(frequencies, dtype=np.float32)
        impacts = (times * (K1 + 1) / (times + K1 * (1 - B + B * shares))).astype(np.float32)
        return _grouped(len(lengths), vocabulary, np.array(ids, dtype=np.int32), rows, impacts)

    def holders(self, word: str) -> int:
        """How many skills hold the word."""
        number = self.vocabulary.get(word)
        return 0 if number is None else int(self.starts[number + 1] - self.starts[number])

    def scores(self, rarities: Mapping[str, float]) -> Weights:
        """For each skill the sum, over the words, of rarity times impact."""
        found = [(self.starts[n], self.starts[n + 1], rarity) for word, rarity in rarities.items()
                 if rarity >= LEAST_RARITY and (n := self.vocabulary.get(word)) is not None]
        found.sort(key=lambda span: span[1] - span[0])
        rows, weights = list[Rows](), list[Weights]()
        read = 0
        for start, end, rarity in found:
            read += end - start
            if read > MOST_POSTINGS and rows:
                break
            rows.append(self.rows[start:end])
            weights.append(self.impacts[start:end] * np.float32(rarity))
        if not rows:
            return np.zeros(self.count, dtype=np.float32)
        summed = np.bincount(np.concatenate(rows), np.concatenate(weights), self.count)
        return summed.astype(np.float32)


def joined(parts: Sequence[tuple[Postings, npt.NDArray[np.int64]]], count: int) -> Postings:
    """One index of several. With each comes the new row of each of its rows, or -1 for one that is dropped."""
    vocabulary: dict[str, int] = {}
    ids, rows, impacts = list[Rows](), list[Rows](), list[Weights]()
    for part, moved in parts:
        numbers = [vocabulary.setdefault(word, len(vocabulary)) for word in part.vocabulary]
        of_each = np.repeat(np.array(numbers, dtype=np.int32), np.diff(part.starts))
        to = moved[part.rows]
        kept = to >= 0
        ids.append(of_each[kept])
        rows.append(to[kept].astype(np.int32))
        impacts.append(part.impacts[kept])
    return _grouped(count, vocabulary, np.concatenate(ids), np.concatenate(rows), np.concatenate(impacts))


def _grouped(count: int, vocabulary: Mapping[str, int], ids: Rows, rows: Rows, impacts: Weights) -> Postings:
    """By word, in the order of their numbers."""
    order = np.argsort(ids, kind="stable")
    sizes = np.bincount(ids, minlength=len(vocabulary))
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return Postings(count, vocabulary, starts, rows[order], impacts[order])


