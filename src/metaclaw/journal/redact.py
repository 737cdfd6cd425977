"""Secrets out of what is about to be stored.

In: text or bytes. Out: the same with keys, tokens and private keys replaced by `[redacted:KIND]`. Patterns are
prefix-anchored where vendors allow it, so that ordinary text stays as it is; known secrets (our token, the
provider's key) are removed literally whatever they look like. A replacement never breaks a JSON string.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

PATTERNS: tuple[tuple[str, str], ...] = (
    (
        "private-key",  # within one JSON string: a bare quote ends it
        r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?:\\[\"]|[^-\"]|-(?!----END))*-----END [A-Z ]*PRIVATE KEY-----",
    ),
    ("api-key", r"\b(?:sk|pk|rk)-(?:[A-Za-z0-9]+-)*[A-Za-z0-9_-]{20,}"),
    ("github-token", r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{40,})"),
    ("aws-key", r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    ("slack-token", r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    ("google-key", r"\bAIza[A-Za-z0-9_-]{35}"),
    ("hub-token", r"\bhf_[A-Za-z0-9]{30,}"),
    ("gitlab-token", r"\bglpat-[A-Za-z0-9_-]{20,}"),
    ("metaclaw-token", r"\bmc-[A-Za-z0-9_-]{30,}"),
    ("jwt", r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}"),
    ("bearer", r"(?i:\bbearer)[ ]+[A-Za-z0-9._~+/-]{20,}=*"),
    ("url-password", r"(?<=://)[^\s/:@\"\\]+:[^\s/@\"\\]+(?=@)"),
    (
        "assigned-secret",
        # in JSON, and in JSON within JSON; a quoted key takes a quoted value only: a number stays one
        r"(?P<key>(?i:(?<![A-Za-z0-9])(?:api[_-]?key|secret(?:[_-](?:access[_-])?key)?|password|passwd|access[_-]?token))"
        r"(?:\\*[\"'][ ]*[:=][ ]*\\*[\"']|[ ]*[:=][ ]*(?:\\*[\"'])?))"
        r"(?=[^\s\"'\\,;]*[0-9])[^\s\"'\\,;]{12,}",
    ),
)


class Redactor:
    """Built once with the secrets that this process knows; then called for everything that is stored."""

    def __init__(self, known: Iterable[str] = ()) -> None:
        literal = [re.escape(secret) for secret in known if len(secret) >= 8]
        groups = [f"(?P<known>{'|'.join(literal)})"] if literal else []
        groups += [f"(?P<{kind.replace('-', '_')}>{pattern})" for kind, pattern in PATTERNS]
        source = "|".join(groups)
        self._text = re.compile(source)
        self._bytes = re.compile(source.encode())

    def text(self, value: str) -> str:
        return self._text.sub(lambda match: f"{match['key'] or ''}[redacted:{_kind(match.lastgroup)}]", value)

    def bytes(self, value: bytes) -> bytes:
        return self._bytes.sub(
            lambda match: (match["key"] or b"") + f"[redacted:{_kind(match.lastgroup)}]".encode(), value
        )


def _kind(group: str | None) -> str:
    return (group or "secret").replace("_", "-")
