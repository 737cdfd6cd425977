"""What a skill must not ask of the agent that reads it: families of wordings in several languages, in `threats.toml`.

In: a text in lower case with single blanks (a view of `disguise`). Out: which families it belongs to, with the words.
A wording that forbids the thing ('never disable the checks') is none. This is a net, not a proof: what it lets through
has still to come from the user's own words, and what a model adds to them waits for a person (`screen`).
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from importlib import resources

FORBIDS = re.compile(
    r"(?:\b(?:never|do not|don't|must not|may not|should not|shouldn't|not to|avoid|without|nie(?:mals)?|nicht|ne"
    r"|jamais|nunca|no|non|mai|não|nooit|niet|nigdy|nie|никогда|не)(?: ever| to| even| be| zu| de| pas)?"
    r"|不要|切勿|禁止) ?$"
)
BEFORE = 24  # characters in which a wording is forbidden
MAX_WORDS = 80
KEEPING = "keeps something from the user"  # itself a wording that forbids


def threats(view: str) -> Iterator[tuple[str, str]]:
    """(family, the words) for each family that the text belongs to."""
    for family, patterns in _families().items():
        for pattern in patterns:
            match = next((found for found in pattern.finditer(view) if not _forbidden(view, found, family)), None)
            if match:
                yield family, match.group(0)[:MAX_WORDS]
                break


@cache
def _families() -> dict[str, tuple[re.Pattern[str], ...]]:
    """Read once, at first use."""
    file = resources.files("metaclaw.evolve").joinpath("threats.toml")
    data = tomllib.loads(file.read_text(encoding="utf-8"))
    return {
        family: tuple(re.compile(_filled(wording, data["parts"])) for wording in wordings)
        for family, wordings in data["families"].items()
    }


def _filled(wording: str, parts: dict[str, str]) -> str:
    for name, part in parts.items():
        wording = wording.replace(f"{{{name}}}", part)
    return wording


def _forbidden(view: str, match: re.Match[str], family: str) -> bool:
    return family != KEEPING and bool(FORBIDS.search(view[max(0, match.start() - BEFORE) : match.start()]))
