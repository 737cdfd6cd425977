"""A stranger's text, safe to look at: what would steer a terminal or a reader, or what nobody sees, is spelled out."""

from __future__ import annotations

import unicodedata


def visible(text: str) -> str:
    return "".join(
        sign if sign in "\n\t" or not unicodedata.category(sign).startswith("C") else f"\\u{ord(sign):04x}"
        for sign in text
    )
