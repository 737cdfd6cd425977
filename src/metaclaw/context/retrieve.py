"""Rank the live skills against a request, and abstain when none fits.

In: skills and a query. Out: the few skills that match, best first. A skill is scored against each passage of the query,
and its best counts: half of it the cosine of the meanings, half BM25, saturated so that a few telling words are
evidence enough. Two steps, so that 100,000 skills cost as little as they do: an estimate for every skill (signs of the
vectors, and the index of words), then the true score of the hundreds that come out best.
Weights and `context.min_score` were tuned on the retrieval bench's tuning split (`make bench-retrieval`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log
from typing import NamedTuple

import numpy as np

from metaclaw.context.dense import Coarse, Numbers, Vectors
from metaclaw.context.embed import Embed
from metaclaw.context.segment import NOBODY, Segment, join
from metaclaw.context.text import Passage, opening, passages, words
from metaclaw.types import Skill

MEANING = 0.5
HALF_EVIDENCE = 3.0  # so much BM25 counts half: about two rare words, once each
RUNNER_UP_SHARE = 0.75  # a further skill must score at least this share of the best: few skills beat many
SAME = 0.92  # cosine above which two skills say the same: the better one is enough
CANDIDATES = 400  # whose true score is computed, at least; more found one right skill more in 400, if any
ONE_OF = 128  # of a large segment, so many as one of each so many
LEAST_CUE = 0.5  # a request must be this like one in which the rule was asked for: cues are many, and chance is fair
LESSER = 0.5  # what the lesser of text and cue counts in the order
SAMPLED = 640  # of a large segment, for a first guess of what the likeliest reach
CONSIDERED = 32  # of them, when a few are chosen that differ
SMALL = 400  # segments up to here lose what is gone at once: its words would count as common, of which few are
MOST_FRESH = 128  # skills beside the large segment before they are joined with it
FULL = 60_000  # a score of 1, in 16 bits
NONE: Numbers = np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, slots=True)
class Match:
    skill: Skill
    score: float


class Found(NamedTuple):  # of which each request makes dozens: a dataclass takes five times as long
    """Row `row` of `segment`. They sort as they are wanted: the best first, and by name where two are as good."""

    behind: float  # what it is ordered by, negated
    name: str
    score: float
    row: int
    segment: Segment

    @property
    def skill(self) -> Skill:
        return self.segment.skills[self.row]


@dataclass(frozen=True, slots=True)
class SkillIndex:
    """The live skills of one generation, ready to be ranked. A change gives a new index, which shares what stayed.

    `gone` are rows of the large segment that are live no more. What came since it was made is in the fresh segment.
    """

    large: Segment
    gone: Numbers
    fresh: Segment

    @classmethod
    def of(cls, skills: Sequence[Skill], vectors: Vectors) -> SkillIndex:
        """`vectors` are those of the skills, from `segment.skill_vectors`."""
        return cls(Segment.of(skills, vectors), NONE, Segment.of([], vectors[:0]))

    @classmethod
    def restored(cls, saved: Segment, others: Sequence[Skill], vectors: Vectors) -> SkillIndex:
        """From a loaded segment, of which some may be gone, and the skills that are not in it."""
        gone = np.array([row for row, skill in enumerate(saved.skills) if skill is NOBODY], dtype=np.int64)
        return cls(saved, gone, Segment.of(others, vectors))

    def __len__(self) -> int:
        return len(self.large) - len(self.gone) + len(self.fresh)

    def rank(self, query: str, embed: Embed, most: int, min_score: float) -> list[Match]:
        """At most `most` matches of at least `min_score`, best first, no two that say the same. Empty: none fits."""
        found = self.search(query, embed, RUNNER_UP_SHARE)
        least = max(min_score, RUNNER_UP_SHARE * max((match.score for match in found), default=0.0))
        worth = [match for match in found if match.score >= least]
        if len(worth) < 2:
            return [Match(match.skill, match.score) for match in worth[:most]]
        vectors = _vectors(worth)
        said = np.zeros(len(worth), dtype=bool)  # by one that was chosen
        chosen = list[Match]()
        for place, match in enumerate(worth):
            if said[place]:
                continue
            if len(chosen) == most:
                break
            chosen.append(Match(match.skill, match.score))
            said[place:] |= np.vecdot(vectors[place:], vectors[place]) >= SAME
        return chosen

    def search(self, query: str, embed: Embed, share: float = 0.0) -> list[Found]:
        """The best by score alone, best first; none that has nothing in common with the query.

        Those below `share` of the best may be left out: to put 32 in order takes a fifth of all the time.
        """
        asked = passages(query)
        if not asked or not len(self):
            return []
        texts = looked_for(query)
        vectors = embed(texts)
        terms = {text: set(words(text)) for text in texts}
        rarities = self._rarities(set().union(*terms.values()))
        of_each = [{word: rarities[word] for word in terms[text]} for text in texts]
        found = [
            match for segment, gone in ((self.large, self.gone), (self.fresh, NONE))
            for match in _best(segment, gone, asked, of_each, vectors, share)
        ]
        return sorted(found)[:CONSIDERED]

    def changed(self, names: Collection[str], skills: Sequence[Skill], vectors: Vectors) -> SkillIndex:
        """With `skills` in place of whatever was live by these names."""
        left = np.array([row for name in names for row in self.large.rows_of(name)], dtype=np.int64)
        staying = np.array(
            [row for name in self.fresh.rows if name not in names for row in self.fresh.rows_of(name)], dtype=np.int64
        )
        new = Segment.of(skills, vectors)
        fresh = join([(self.fresh, np.sort(staying)), (new, np.arange(len(new)))])
        index = SkillIndex(self.large, np.union1d(self.gone, left), fresh)
        return index.joined() if len(self.large) <= SMALL and len(left) else index

    @property
    def crowded(self) -> bool:
        """Whether so much changed since the large segment was made that a new one is worth its while."""
        return len(self.fresh) > MOST_FRESH or 4 * len(self.gone) > len(self.large)

    def joined(self) -> SkillIndex:
        """The same skills in one large segment."""
        live = np.setdiff1d(np.arange(len(self.large)), self.gone)
        whole = join([(self.large, live), (self.fresh, np.arange(len(self.fresh)))])
        return SkillIndex(whole, NONE, join([(self.fresh, NONE)]))

    def _rarities(self, asked: Collection[str]) -> dict[str, float]:
        """Inverse document frequency, scaled to [0, 1]: a word in every skill says little about any."""
        top = log(len(self) + 1)
        held = {word: self.large.postings.holders(word) + self.fresh.postings.holders(word) for word in asked}
        return {word: max(0.0, 1 - log(count) / top) if count else 1.0 for word, count in held.items()}


def looked_for(query: str) -> list[str]:
    """The texts of a request that are embedded: its passages, and its opening, which is compared with cues."""
    return [*(passage.text for passage in passages(query)), opening(query)]


def _best(
    segment: Segment, gone: Numbers, asked: Sequence[Passage], rarities: Sequence[Mapping[str, float]],
    vectors: Vectors, share: float,
) -> list[Found]:
    """The best of a segment, with their true scores."""
    if not len(segment):
        return []
    cued = len(segment.rows) < len(segment)
    if not cued:
        rarities, vectors = rarities[:-1], vectors[:-1]
    weights_P = np.array([*(passage.weight for passage in asked), *[1.0] * cued], dtype=np.float32)
    evidence = [segment.postings.scores(of_passage) for of_passage in rarities]
    rows = _candidates(segment, gone, evidence, weights_P, vectors)
    lexical_PC = _saturated(np.stack([of_passage[rows] for of_passage in evidence]))
    cosines_PC = segment.dense.cosines(rows, vectors).clip(0, 1)
    scores_PC = weights_P[:, None] * (np.float32(MEANING) * cosines_PC + np.float32(1 - MEANING) * lexical_PC)
    rows, scores_C, places_C = _by_skill(segment.owners[rows], rows, scores_PC, cued)
    worth = np.flatnonzero((scores_C > 0) & (scores_C >= share * scores_C.max(initial=0)))
    best = worth[np.argsort(-places_C[worth], kind="stable")][:CONSIDERED]
    found = zip((-places_C[best]).tolist(), scores_C[best].tolist(), rows[best].tolist(), strict=True)
    return [Found(behind, segment.skills[row].name, score, row, segment) for behind, score, row in found]


def _vectors(found: Sequence[Found]) -> Vectors:
    segment = found[0].segment
    if all(one.segment is segment for one in found):
        return segment.dense.vectors(np.array([one.row for one in found]))
    return np.concatenate([one.segment.dense.vectors(np.array([one.row])) for one in found])


def _by_skill(owners: Numbers, rows: Numbers, scores: Vectors, cued: bool) -> tuple[Numbers, Vectors, Vectors]:
    """Of each skill the row of its text, its score, and its place: the score is that of its text or of its best cue,
    the place counts the lesser of the two as well. Texts are compared with the passages, cues with the opening alone.
    """
    if not cued:
        found: Vectors = scores.max(0)
        return rows, found, found
    skills, numbers = np.unique(owners, return_inverse=True)
    of_cue = owners != rows
    by_text, by_cue = np.zeros(len(skills), dtype=np.float32), np.zeros(len(skills), dtype=np.float32)
    by_text[numbers[~of_cue]] = scores[:-1, ~of_cue].max(0)
    like = scores[-1, of_cue]
    np.maximum.at(by_cue, numbers[of_cue], np.where(like >= LEAST_CUE, like, 0))
    found = np.maximum(by_text, by_cue)
    places = (found + np.float32(LESSER) * np.minimum(by_text, by_cue)).astype(np.float32)
    return skills, found, places


def _candidates(
    segment: Segment, gone: Numbers, evidence: Sequence[Vectors], weights_P: Vectors, vectors: Vectors
) -> Numbers:
    """The rows that are worth a true score, in their order: all of a small segment, of a large one the likeliest."""
    wanted = max(CANDIDATES, len(segment) // ONE_OF)
    if len(segment) <= wanted:
        return np.setdiff1d(np.arange(len(segment)), gone)
    likely_S = np.zeros(len(segment), dtype=np.uint16)
    for of_words_S, weight, vector in zip(evidence, weights_P.tolist(), vectors, strict=True):
        one_S = segment.dense.estimates(vector, int(FULL * MEANING * weight))
        one_S += (np.float32(FULL * (1 - MEANING) * weight) * _saturated(of_words_S)).astype(np.uint16)
        np.maximum(likely_S, one_S, out=likely_S)
    likely_S[gone] = 0
    return np.flatnonzero(likely_S >= _bar(likely_S, wanted))[: 2 * wanted]  # ties may be many


def _bar(likely: Coarse, wanted: int) -> int:
    """What about so many of them reach. Halving beats numpy's selection, which is slow where most are equal; one of
    each few tells where to begin.
    """
    low, high = 1, int(likely.max(initial=0)) + 1
    some = likely[:: max(1, len(likely) // SAMPLED)]
    rank = len(some) - 1 - int(1.25 * wanted * len(some) / len(likely))
    guess = int(np.partition(some, rank)[rank]) if rank >= 0 else 0
    while high - low > 1:
        middle = guess if low < guess < high else (low + high) // 2
        guess = 0
        reach = np.count_nonzero(likely >= middle)
        if wanted <= reach <= 1.5 * wanted:
            return middle
        low, high = (middle, high) if reach > wanted else (low, middle)
    return low


def _saturated(evidence: Vectors) -> Vectors:
    found: Vectors = evidence / (evidence + np.float32(HALF_EVIDENCE))
    return found
