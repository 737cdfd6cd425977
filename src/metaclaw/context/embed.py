"""From texts to vectors: the static word vectors that ship with us, and what a better embedder has to offer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

import numpy as np

from metaclaw.context.dense import Vectors, unit
from metaclaw.errors import WeightsError

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

    def embed(self, texts: Sequence[str]) -> Vectors:
        """The mean of its tokens' vectors, as the package itself pools them; without its batches, half the time."""
        found = np.zeros((len(texts), self._of_tokens.shape[1]), dtype=np.float32)
        encode = self._tokenizer.encode
        for row, text in enumerate(texts):
            tokens = encode(text, add_special_tokens=False).ids
            if tokens:
                np.add.reduce(self._of_tokens[tokens], axis=0, out=found[row])
        return unit(found)
