"""Where in a client's trace a request stands (W3C Trace Context, level 1): read from its headers, written for the next.

In: the headers of a request. Out: a `Place`, and a `traceparent` that names our span as the parent of what follows.
"""

from __future__ import annotations

import random
import re
from collections.abc import MutableMapping
from contextvars import ContextVar
from dataclasses import dataclass

TRACEPARENT, TRACESTATE = "traceparent", "tracestate"
FORM = re.compile(r"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Place:
    """Our span's ids; `parent_id` is None where the trace begins with us. Not `sampled`: nobody keeps this trace."""

    trace_id: int
    span_id: int
    parent_id: int | None
    sampled: bool

    @property
    def traceparent(self) -> str:
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


# Set by whoever serves a request, for whoever keeps its turn: the same task, and nothing between the two need know.
CURRENT: ContextVar[Place | None] = ContextVar("CURRENT", default=None)


def continued(headers: MutableMapping[str, str]) -> Place:
    """A new span in the trace that the client names, or in one of its own; what goes upstream then names our span."""
    found = FORM.fullmatch(headers.get(TRACEPARENT, "").strip())
    if found and not (found[1] == "00" and found[5]):
        place = Place(int(found[2], 16), _span_id(), int(found[3], 16), bool(int(found[4], 16) & SAMPLED))
    else:  # what cannot be read is begun anew, and its state goes, too
        headers.pop(TRACESTATE, None)
        place = Place(random.getrandbits(128) or 1, _span_id(), None, sampled=True)
    headers[TRACEPARENT] = place.traceparent
    return place


def _span_id() -> int:
    return random.getrandbits(64) or 1
