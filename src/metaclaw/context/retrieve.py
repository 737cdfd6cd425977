"""Rank the live skills against a request, and abstain when none fits.

In: skills and a query. Out: the few skills that match, best first. The score of a skill is in [0, 1]:
three quarters embedding (the better of two cosines: with its description, which holds the request that it came from,
and with the whole of it) and one quarter lexical (the share of the query's words, weighted by rarity, that it
contains). Measured on the demo's working week: the right skill scores 0.37 to 0.60, ordinary questions at most 0.24.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from metaclaw.errors import WeightsError
from metaclaw.types import Skill

Vectors = npt.NDArray[np.float32]

EMBEDDING_WEIGHT = 0.75
RUNNER_UP_SHARE = 0.75  # a further skill must score at least this share of the best: few skills beat many
MAX_QUERY_CHARACTERS = 2_000
WORD = re.compile(r"\w+")


class Embedder(Protocol):
    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimensions)."""


class StaticEmbedder:
    """256-dimension static word vectors that ship inside the `wordllama` package: no download, microseconds a text."""

    def __init__(self) -> None:
        try:
            import wordllama  # a second of import that only who retrieves should pay

            folder = Path(wordllama.__file__).parent
            self._model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
        except (ImportError, OSError) as error:
            raise WeightsError(f"The word vectors cannot be loaded ({error}). Reinstall `wordllama`.") from error

    def embed(self, texts: Sequence[str]) -> Vectors:
        vectors = np.asarray(self._model.embed(list(texts)), dtype=np.float32)
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: Vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return unit


@dataclass(frozen=True, slots=True)
class Match:
    skill: Skill
    score: float


class SkillIndex:
    """The live skills of one generation, ready to be ranked. Immutable: a new generation gets a new index."""

    def __init__(self, skills: Sequence[Skill], embedder: Embedder) -> None:
        self.skills = tuple(skills)
        self._embedder = embedder
        texts = [f"{skill.description}\n{skill.body}" for skill in skills]
        self._words = [frozenset(_words(text)) for text in texts]
        self._rarity = _rarity(self._words)
        if skills:
            self._descriptions = embedder.embed([skill.description for skill in skills])
            self._wholes = embedder.embed(texts)

    def rank(self, query: str, most: int, min_score: float) -> list[Match]:
        """At most `most` matches of at least `min_score`, best first; empty when nothing fits."""
        text = query[:MAX_QUERY_CHARACTERS]
        if not self.skills or not text.strip():
            return []
        scores = self._scores(text)
        order = sorted(range(len(scores)), key=lambda i: (-scores[i], self.skills[i].name))[:most]
        floor = max(min_score, RUNNER_UP_SHARE * float(scores[order[0]]))
        return [Match(self.skills[i], float(scores[i])) for i in order if scores[i] >= floor]

    def _scores(self, text: str) -> Vectors:
        vector = self._embedder.embed([text])[0]
        cosine = np.maximum(self._descriptions @ vector, self._wholes @ vector)
        words = _words(text)
        lexical = np.array([self._coverage(words, known) for known in self._words], dtype=np.float32)
        mixed: Vectors = EMBEDDING_WEIGHT * np.clip(cosine, 0, 1) + (1 - EMBEDDING_WEIGHT) * lexical
        return mixed

    def _coverage(self, query: Sequence[str], known: frozenset[str]) -> float:
        weights = {word: self._rarity.get(word, 1.0) for word in query}
        return sum(weight for word, weight in weights.items() if word in known) / sum(weights.values())


def _words(text: str) -> list[str]:
    return WORD.findall(text.lower()) or [""]


def _rarity(documents: Sequence[frozenset[str]]) -> dict[str, float]:
    """Inverse document frequency, scaled to (0, 1]: a word in every skill says little about any."""
    counts = Counter(word for document in documents for word in document)
    top = math.log(len(documents) + 1)
    return {word: math.log((len(documents) + 1) / count) / top if top else 1.0 for word, count in counts.items()}
