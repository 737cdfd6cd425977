"""`/v1/embeddings` as it is spoken: what is sent, and that nothing but one vector a text is taken."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from metaclaw.errors import UpstreamError
from metaclaw.upstream.client import UpstreamClient
from metaclaw.upstream.embeddings import MOST_CHARACTERS, EmbeddingsEndpoint
from upstream_server import upstream, whole


def listed(*vectors: Any) -> bytes:
    """The list in another order than it was asked for, as a server may send it."""
    data = [{"object": "embedding", "index": i, "embedding": vector} for i, vector in enumerate(vectors)]
    return json.dumps({"object": "list", "data": data[::-1], "model": "m"}).encode()


async def test_texts_become_unit_vectors_in_their_order() -> None:
    async with upstream(whole(listed([3, 4], [0, -2], [0, 0]))) as server, UpstreamClient(5, 5) as client:
        endpoint = EmbeddingsEndpoint(client, server.url + "/", "small-model", "key-of-the-endpoint")
        found = await endpoint.embed(["one", "", "x" * (MOST_CHARACTERS + 5)])
    assert found.dtype == np.float32
    assert found.tolist() == [pytest.approx([0.6, 0.8]), [0.0, -1.0], [0.0, 0.0]]
    seen = server.seen[0]
    assert (seen.path, seen.headers["authorization"]) == ("/v1/embeddings", "Bearer key-of-the-endpoint")
    assert json.loads(seen.body) == {
        "model": "small-model", "input": ["one", " ", "x" * MOST_CHARACTERS], "encoding_format": "float"
    }
    assert endpoint.name == f"small-model at {server.url}/"


@pytest.mark.parametrize(
    "reply",
    [
        listed([1, 2]), listed([1, 2], [1]), listed([1, 2], [1, "x"]), listed([1, 2], [1, float("nan")]), b"{}",
        b'{"data": 3}', b'{"data": [{"embedding": [1]}, {}]}', b'{"data": []}', b"[]", b"sorry",
    ],
)
async def test_anything_else_is_an_error_of_the_upstream(reply: bytes) -> None:
    async with upstream(whole(reply)) as server, UpstreamClient(5, 5) as client:
        with pytest.raises(UpstreamError) as raised:
            await EmbeddingsEndpoint(client, server.url, "m", None).embed(["one", "two"])
    assert raised.value.code == "upstream_garbage"


async def test_a_refusal_keeps_its_status() -> None:
    async with upstream(whole(b'{"error": "no such model"}', 404)) as server, UpstreamClient(5, 5) as client:
        with pytest.raises(UpstreamError) as raised:
            await EmbeddingsEndpoint(client, server.url, "m", None).embed(["one"])
    assert raised.value.status == 404
