"""Vectors from an OpenAI-compatible `/v1/embeddings` endpoint.

In: texts. Out: a unit vector each, in the same order. Source: the OpenAI API reference, embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from metaclaw.errors import UpstreamError
from metaclaw.upstream.client import UpstreamClient
from metaclaw.upstream.route import Route

MOST_CHARACTERS = 8_000  # of one text: about what the usual models read


class EmbeddingsEndpoint:
    """One model behind one endpoint. `client` is shared, and is its owner's to close."""

    def __init__(self, client: UpstreamClient, url: str, model: str, api_key: str | None) -> None:
        self.name = f"{model} at {url}"
        self._client = client
        self._model = model
        self._route = Route(url.rstrip("/"), f"embeddings:{model}", api_key=api_key)

    async def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Shape (len(texts), dimensions). Raises `UpstreamError` for anything but a vector a text."""
        asked = [text[:MOST_CHARACTERS] or " " for text in texts]  # an empty text is refused there
        body = {"model": self._model, "input": asked, "encoding_format": "float"}
        vectors = self._vectors(await self._client.json(self._route, "/embeddings", body), len(texts))
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        unit: npt.NDArray[np.float32] = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        return unit

    def _vectors(self, reply: dict[str, Any], count: int) -> npt.NDArray[np.float32]:
        try:
            rows = sorted(reply["data"], key=lambda row: row["index"])
            vectors = np.array([row["embedding"] for row in rows], dtype=np.float32)
        except (KeyError, TypeError, ValueError) as error:
            raise self._garbage() from error
        if vectors.ndim != 2 or len(vectors) != count or not np.isfinite(vectors).all():
            raise self._garbage()
        return vectors

    def _garbage(self) -> UpstreamError:
        return UpstreamError(
            502, "upstream_garbage", f"{self._route.url}/embeddings did not answer one vector a text. Check"
            " context.embeddings_url and context.embeddings_model.",
        )
