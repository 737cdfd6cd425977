"""How a process writes its log: lines for people, or lines of JSON for machines, in both with the secrets masked.

Only whoever starts a process calls `install`. In JSON, the ids that a message names stand beside it as well: what comes
after the word `turn`, `session`, `skill` or `adapter` in `log.info("skill %s is live", name)`.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

Clean = Callable[[str], str]
PLACE = re.compile(r"(?:\b(turn|session|skill|adapter) )?%(?![%(])[^a-zA-Z]*[a-zA-Z]")


def install(form: Literal["text", "json"], level: str, process: str, clean: Clean) -> None:
    """To stderr, in place of whatever was installed before. `clean` takes secrets out of a text."""
    formatter = JsonLines(process, clean) if form == "json" else PlainLines(process, clean)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def __init__(self, process: str, clean: Clean) -> None:
        super().__init__()
        self._process, self._clean = process, clean

    def format(self, record: logging.LogRecord) -> str:
        told: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "process": self._process,
            "pid": record.process,
            "logger": record.name,
            "message": self._clean(record.getMessage()),
        }
        told |= {name: self._clean(value) for name, value in ids_of(record).items()}
        if record.exc_info:
            told["error"] = self._clean(self.formatException(record.exc_info))
        return json.dumps(told, ensure_ascii=False)


def ids_of(record: logging.LogRecord) -> dict[str, str]:
    """What a record is about, as its message names it."""
    if not isinstance(record.args, tuple):
        return {}
    places = PLACE.finditer(record.msg.replace("%%", ""))
    return {place[1]: str(value) for place, value in zip(places, record.args, strict=False) if place[1]}


class PlainLines(logging.Formatter):
    """A record as people read it."""

    def __init__(self, process: str, clean: Clean) -> None:
        super().__init__(f"%(asctime)s {process} %(name)s %(levelname)s %(message)s")
        self._clean = clean

    def format(self, record: logging.LogRecord) -> str:
        return self._clean(super().format(record))
