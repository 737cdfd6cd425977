"""The ways to find skills that the bench compares: ours, each half of it alone, FTS5, and keyword categories.

Each takes a query and gives the names of the six best with their scores. The halves get the same words, passages and
vectors as the whole, so that they differ by nothing but the other half.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import apsw
import numpy as np

from metaclaw.context.embed import Embedder
from metaclaw.context.retrieve import SkillIndex
from metaclaw.context.text import facets, passages, words
from metaclaw.types import Skill

MOST = 6
Ranking = Sequence[tuple[str, float]]
Method = Callable[[str], Ranking]


class Hybrid:
    def __init__(self, index: SkillIndex, embedder: Embedder) -> None:
        self._index = index
        self._embedder = embedder

    def __call__(self, query: str) -> Ranking:
        return [(found.skill.name, found.score) for found in self._index.search(query, self._embedder.embed)[:MOST]]


class Bm25:
    """The words alone."""

    def __init__(self, index: SkillIndex) -> None:
        self._segment = index.large

    def __call__(self, query: str) -> Ranking:
        count = len(self._segment)
        best = np.zeros(count, dtype=np.float32)
        for passage in passages(query):
            held = {word: self._segment.postings.holders(word) for word in words(passage.text)}
            rarities = {word: float(np.log((count + 1) / n) / np.log(count + 1)) for word, n in held.items() if n}
            np.maximum(best, np.float32(passage.weight) * self._segment.postings.scores(rarities), out=best)
        return _top(best, self._segment.skills)


class Embeddings:
    """The vectors alone, each of them compared in full."""

    def __init__(self, index: SkillIndex, embedder: Embedder) -> None:
        self._skills = index.large.skills
        self._vectors = index.large.dense.vectors(np.arange(len(self._skills)))
        self._embedder = embedder

    def __call__(self, query: str) -> Ranking:
        asked = passages(query)
        if not asked:
            return []
        cosines = self._vectors @ self._embedder.embed([passage.text for passage in asked]).T
        return _top((cosines * [passage.weight for passage in asked]).max(axis=1), self._skills)


class Fts5:
    """SQLite's own full-text index and its bm25(), any of the query's words, in memory."""

    def __init__(self, skills: Sequence[Skill]) -> None:
        self._names = [skill.name for skill in skills]
        self._connection = apsw.Connection(":memory:")
        self._connection.execute("CREATE VIRTUAL TABLE skills USING fts5(text, content='', tokenize='unicode61')")
        with self._connection:
            self._connection.executemany(
                "INSERT INTO skills (rowid, text) VALUES (?, ?)",
                ((row, " ".join(words("\n".join(facets(skill))))) for row, skill in enumerate(skills)),
            )

    def __call__(self, query: str) -> Ranking:
        asked = " OR ".join(f'"{word}"' for passage in passages(query) for word in words(passage.text))
        if not asked:
            return []
        found = self._connection.execute(
            "SELECT rowid, bm25(skills) FROM skills WHERE skills MATCH ? ORDER BY 2 LIMIT ?", (asked, MOST)
        ).fetchall()
        return [(self._names[int(str(row))], -float(str(score))) for row, score in found]


class FirstOfCategory:
    """What the public implementation does: a category by keyword, then the first skills of it, whatever they say.

    Ours gets the benefit of the doubt: skills are put into categories by the same keywords, and a query with no keyword
    gets none.
    """

    CATEGORIES = (
        ("coding", "code function class python git commit branch test api bug container server log deploy database"),
        ("data", "data table column chart sheet query average total model sample statistic report number"),
        ("writing", "write text letter title headline translate page heading note word name label"),
        ("communication", "mail message channel meeting reply call post customer announce tell"),
        ("planning", "plan schedule deadline goal task agenda date when order list"),
        ("money", "invoice price cost pay tax account expense receipt contract bill"),
        ("security", "password access key login backup privacy incident permit"),
        ("operations", "machine stock ship store repair check clean measure build"),
    )

    def __init__(self, skills: Sequence[Skill]) -> None:
        self._first: dict[str | None, list[str]] = {}
        for skill in sorted(skills, key=lambda one: one.name):
            of_category = self._first.setdefault(self._category(skill.description), [])
            if len(of_category) < MOST:
                of_category.append(skill.name)

    def __call__(self, query: str) -> Ranking:
        category = self._category(query)
        return [(name, 1.0) for name in self._first.get(category, [])] if category else []

    def _category(self, text: str) -> str | None:
        lower = text.lower()
        return next((name for name, keys in self.CATEGORIES if any(key in lower for key in keys.split())), None)


def _top(scores: np.typing.NDArray[np.float32], skills: Sequence[Skill]) -> Ranking:
    rows = np.argpartition(-scores, MOST)[:MOST].tolist() if len(scores) > MOST else range(len(scores))
    ranked = [(skills[row].name, float(scores[row])) for row in rows if scores[row] > 0]
    return sorted(ranked, key=lambda one: (-one[1], one[0]))
