"""Which wire format a client speaks, as its path or its headers tell; for errors, and for what is no turn."""

from __future__ import annotations

import re

from metaclaw.dialects import chat, messages
from metaclaw.dialects.base import Dialect
from metaclaw.dialects.translation import DIALECTS
from metaclaw.wire.messages import Request

PREFIXES = re.compile(r"(?:/t/[^/]+)?(?:/s/[^/]+)?(?=/)")
ANTHROPIC = "anthropic-version"  # every client of Anthropic's API sends this header


def spoken_by(request: Request) -> Dialect:
    path = PREFIXES.sub("", request.path, count=1)
    for dialect in DIALECTS.values():
        if f"{path}/".startswith(f"/v1{dialect.PATH}/"):
            return dialect
    return DIALECTS[messages.NAME if ANTHROPIC in request.headers else chat.NAME]
