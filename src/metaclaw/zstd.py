"""Zstandard: the standard library's where there is one (Python 3.14), else its backport."""

from __future__ import annotations

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]
except ImportError:
    from backports import zstd

__all__ = ["zstd"]
