"""Pages as HTML: the templates, and how times, shares and sizes are written. All text is escaped, and made visible."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from metaclaw.visible import visible

MINUTE, HOUR, DAY = 60, 3600, 86400
SIZES = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


class Renderer:
    """`now` is what "ago" is counted from."""

    def __init__(self, now: Callable[[], datetime]) -> None:
        self._now = now
        self._environment = Environment(
            loader=PackageLoader("metaclaw.dashboard"), autoescape=True, undefined=StrictUndefined, finalize=_shown,
            trim_blocks=True, lstrip_blocks=True,
        )
        self._environment.globals["static"] = static_path
        self._environment.filters |= {
            "ago": self._ago, "clock": clock, "percent": percent, "points": points, "size": size, "lasting": lasting,
            "number": number, "line": line, "label": label,
        }

    def html(self, template: str, given: Mapping[str, Any]) -> bytes:
        return self._environment.get_template(template).render(given).encode(errors="replace")

    def _ago(self, moment: float) -> Markup:
        """How long ago, with the moment itself where somebody points at it."""
        then = datetime.fromtimestamp(moment).astimezone()
        since = _since(self._now().timestamp() - moment, then)
        return Markup('<time datetime="{}" title="{}">{}</time>').format(
            then.isoformat(timespec="seconds"), f"{then:%a %Y-%m-%d %H:%M:%S}", since
        )


def clock(moment: float) -> str:
    return f"{datetime.fromtimestamp(moment).astimezone():%H:%M:%S}"


def percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.0f} %"


def points(share: float) -> str:
    """A difference of shares, in percentage points, with its sign."""
    text = f"{100 * share:+.0f}"
    return "±0" if text in ("+0", "-0") else text.replace("-", "−")


def size(count: float) -> str:
    for unit, least in SIZES:
        if count >= least:
            return f"{count / least:.1f} {unit}"
    return f"{count:.0f} B"


def lasting(seconds: float) -> str:
    """A length of time, in its two largest units."""
    if seconds < MINUTE:
        return f"{max(0, seconds):.0f} s"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min"
    if seconds < DAY:
        return f"{seconds // HOUR:.0f} h {seconds % HOUR // MINUTE:.0f} min"
    return f"{seconds // DAY:.0f} d {seconds % DAY // HOUR:.0f} h"


def number(value: float) -> str:
    """With a thin space between the thousands."""
    return f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def label(key: str) -> str:
    """A key of ours as the name of a figure."""
    words = key.replace("_", " ").replace("kl to", "KL to")
    return words[:1].upper() + words[1:]


def line(text: str, most: int = 240) -> str:
    """In one line, cut."""
    flat = " ".join(text.split())
    return flat if len(flat) <= most else f"{flat[:most]}…"


def static_path(name: str) -> str:
    """Where a page finds a file of ours: a path that changes with our files, so that it may be kept for good."""
    return f"/static/{static_version()}/{name}"


@cache
def static_version() -> str:
    files = sorted(resources.files("metaclaw.dashboard").joinpath("static").iterdir(), key=lambda one: one.name)
    return hashlib.sha256(b"".join(one.read_bytes() for one in files)).hexdigest()[:12]


def _shown(value: Any) -> Any:
    """Plain text as it may be looked at. What is HTML already (`Markup`) was made of such text."""
    if value is None:
        return ""
    return visible(value) if type(value) is str else value


def _since(seconds: float, then: datetime) -> str:
    if seconds < 10:
        return "just now"
    if seconds < MINUTE:
        return f"{seconds:.0f} s ago"
    if seconds < HOUR:
        return f"{seconds // MINUTE:.0f} min ago"
    if seconds < DAY:
        return f"{seconds // HOUR:.0f} h ago"
    if seconds < 7 * DAY:
        return f"{then:%a %H:%M}"
    return f"{then.day} {then:%b %Y}" if seconds > 300 * DAY else f"{then.day} {then:%b}"


