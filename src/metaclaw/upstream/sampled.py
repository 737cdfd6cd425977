"""The tokens that the engine sampled and their log-probabilities, taken out of its reply unseen by the client.

In: the body for the engine, which then asks for them too; and its reply, piece by piece. Out: the reply with every
other byte as it was, and the tokens where all of them came. llama.cpp hands out no probability for a token that ends
within a character, nor in a stream for the one that ends the reply, and a stop string cuts tokens: what does not add up
to the very reply is not recorded, and its turn stays text only. Pure.

The log-probabilities are the model's own, before temperature and cuts. What asking costs: `docs/data.md`.
"""

from __future__ import annotations

from typing import Any

from metaclaw.dialects import splice, sse
from metaclaw.dialects.base import object_or_empty
from metaclaw.types import Sampled

OPENS = b',"logprobs":'  # as the engine writes it behind a message; within a string its quotes are escaped
OWN_WISHES = ("logprobs", "top_logprobs", "n_probs", "post_sampling_probs")
NOT_FREE = ("tools", "response_format", "grammar", "json_schema", "logit_bias", "n")
"""What binds the sampling, or changes the prompt on its way: its probabilities would be of something else."""


def asking(body: bytes) -> bytes | None:
    """The same request, for the tokens as well; None where the client has wishes of its own, or sampling is bound."""
    asked = object_or_empty(body)
    if not asked or any(asked.get(name) for name in (*OWN_WISHES, *NOT_FREE)):
        return None
    wanted = splice.apply(body, [splice.set_member(body, "logprobs", True)])
    return splice.apply(wanted, [splice.set_member(wanted, "top_logprobs", 1)])  # 0 is none at all, and absent 20


class SampleTap:
    """One reply of the engine's. `feed` and `rest`, or `whole`; then `sampled`."""

    def __init__(self) -> None:
        self._splitter = sse.EventSplitter()
        self._found: list[dict[str, Any]] = []
        self._predicted = 0
        self._finish: object = None

    def feed(self, chunk: bytes) -> bytes:
        """The whole events among what has come; what is not whole yet waits for the rest of it."""
        return b"".join([self._event(event) for event in self._splitter.feed(chunk)])

    @property
    def rest(self) -> bytes:
        return self._splitter.rest

    def whole(self, raw: bytes) -> bytes:
        """A reply that was not streamed."""
        clean = self._cut(raw)
        self._look_for_end(clean)
        return clean

    def sampled(self, reply: str) -> Sampled | None:
        """The tokens of this reply; None unless the engine told of every one, and they say just that."""
        found = self._found
        told_its_end = bool(found) and not found[-1].get("bytes")
        if not found or self._finish != "stop" or len(found) != self._predicted - (not told_its_end):
            return None
        try:
            said = b"".join(bytes(one["bytes"]) for one in found)
            tokens, logprobs = zip(*((int(one["id"]), float(one["logprob"])) for one in found), strict=True)
        except (KeyError, TypeError, ValueError):
            return None
        return Sampled(tokens, logprobs) if said == reply.encode(errors="replace") else None

    def _event(self, event: bytes) -> bytes:
        clean = self._cut(event)
        if b'"timings"' in clean:  # the event that ends the reply, and no other
            self._look_for_end(sse.data_of(clean))
        return clean

    def _cut(self, text: bytes) -> bytes:
        """Without the log-probabilities, which are kept."""
        start = text.find(OPENS)
        if start < 0:
            return text
        try:
            value, end = splice.VALUE(text.decode("latin-1"), start + len(OPENS))
        except ValueError:
            return text
        found = value.get("content") if isinstance(value, dict) else None
        self._found += found if isinstance(found, list) else []
        return text[:start] + text[end:]

    def _look_for_end(self, data: bytes) -> None:
        body = object_or_empty(data)
        try:
            self._predicted = int(body["timings"]["predicted_n"])
            self._finish = body["choices"][0]["finish_reason"] or self._finish
        except (KeyError, IndexError, TypeError, ValueError):
            return
