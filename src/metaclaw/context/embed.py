"""From texts to vectors: the static word vectors that ship with us, and what a better embedder has to offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from metaclaw.context.dense import Vectors, unit
from metaclaw.errors import WeightsError

WORDS_KEPT = 16_384
BLANK_MARK = "\u2581"
WORD_BY_WORD = 2_000  # characters; skills are read once, and would push the words of requests out

Embed = Callable[[Sequence[str]], Vectors]


class Embedder(Protocol):
    """`name` tells whose vectors they are: vectors of two names are never compared."""

    @property
    def name(self) -> str: ...

    def embed(self, texts: Sequence[str]) -> Vectors:
        """Unit vectors, shape (len(texts), dimensions); zeros for a text that says nothing."""


class RemoteEmbedder(Protocol):
    """The same over a network: slow, and it may fail with a `MetaClawError`."""

    @property
    def name(self) -> str: ...

    async def embed(self, texts: Sequence[str]) -> Vectors: ...


class StaticEmbedder:
    """256-dimension static word vectors that ship inside the `wordllama` package: no download, microseconds a text."""

    def __init__(self) -> None:
        try:
            import wordllama  # a second of import that only who retrieves should pay

            folder = Path(wordllama.__file__).parent
            model = wordllama.WordLlama.load(cache_dir=folder, disable_download=True)
        except (ImportError, OSError) as error:
            raise WeightsError(f"The word vectors cannot be loaded ({error}). Reinstall `wordllama`.") from error
        self.name = f"wordllama-256 {version('wordllama')}"
        self._of_tokens = model.embedding
        self._tokenizer = model.tokenizer
        self._tokenizer.no_padding()
        self._of_word = lru_cache(maxsize=WORDS_KEPT)(self._encode)

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The mean of its tokens' vectors, as the package itself pools them; without its batches, half the time."""
        found = np.zeros((len(texts), self._of_tokens.shape[1]), dtype=np.float32)
        seen: dict[str, int] = {}  # a short request is its only passage, and its opening as well
        for row, text in enumerate(texts):
            first = seen.setdefault(text, row)
            if first < row:
                found[row] = found[first]
            elif tokens := self.tokens(text):
                np.add.reduce(self._of_tokens.take(tokens, axis=0), axis=0, out=found[row])
        return unit(found)

    def tokens(self, text: str) -> list[int]:
        """Word by word, since those of most words are known: no token of this vocabulary reaches over a blank.

        Several blanks together are tokens of their own; such texts are read as a whole, and so are those that hold the
        mark which stands for a blank.
        """
        if "  " in text or text[:1] == " " or text[-1:] == " " or BLANK_MARK in text or len(text) > WORD_BY_WORD:
            return [*self._encode(text)]
        return [token for word in text.split(" ") for token in self._of_word(word)]

    def _encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer.encode(text, add_special_tokens=False).ids)
