"""What people say of replies, in twelve languages: the files in `languages/`, made into patterns."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

# What a reply is made of ({part} in the files): 'the total is off' speaks of the reply, 'the printer is off' does not.
PART = (
    r"(?:answer|total|sum|result|code|title|date|format|table|column|row|link|name|order|tone|text|translation|number"
    r"|list|spelling|output|function|formula|chart|heading|header|subject|year|price|address|value|count|calculation"
    r"|regex|query|command|example|quote|import|indentation|paragraph|sentence|line|version|unit|summary|reply|one)s?"
)
BLANK = r"[\s,.!:;…~*_#>¡¿()–—，、-]*"
SPACED = re.compile(r"[a-zà-žа-яё(?:']")  # how a fragment of a script with blanks between its words begins


@dataclass(frozen=True, slots=True)
class Phrases:
    """All languages together. Lower case; tried at the start of a sentence unless said otherwise.

    `filler`: what may come first, such as 'hmm' and 'please'.
    `no`: turns a reply down, unless a language's `declines` follows it, as in 'No, thanks'.
    `wrong`: says that a reply is wrong; `anywhere`: so does this in the middle of a sentence.
    `reproach`: begins a question that is a complaint all the same, as in 'Why did you change the tests?'
    `praise`: says that a reply is right, unless it soon goes on as `not_praise`.
    `but`: turns praise round, unless what follows is a request of its own (`asks`).
    `remark`: a complaint in words that are known to be about a reply; anywhere in them.
    `again`: what is added when the same is asked again; anywhere.
    """

    filler: re.Pattern[str]
    no: re.Pattern[str]
    wrong: re.Pattern[str]
    anywhere: re.Pattern[str]
    reproach: re.Pattern[str]
    praise: re.Pattern[str]
    but: re.Pattern[str]
    asks: re.Pattern[str]
    remark: re.Pattern[str]
    again: re.Pattern[str]


@cache
def phrases() -> Phrases:
    """Read once, at first use."""
    folder = resources.files("metaclaw.signals").joinpath("languages")
    files = sorted((file for file in folder.iterdir() if file.name.endswith(".toml")), key=lambda file: file.name)
    languages = [tomllib.loads(file.read_text(encoding="utf-8")) for file in files]

    def together(key: str) -> str:
        return _either("|".join(language[key]).replace("{part}", PART) for language in languages)

    def words(key: str) -> str:
        return _either(_words(language[key]) for language in languages)

    praise = _either(
        rf"(?:{'|'.join(language['praise'])})(?![^.!。]{{0,12}}(?:{'|'.join(language['not_praise'])}))"
        for language in languages
    )
    return Phrases(
        filler=re.compile(rf"{BLANK}(?:{words('filler')}(?=[\s,.!:;…，、-]))?{BLANK}"),
        no=re.compile(rf"{together('no')}(?!{BLANK}{together('declines')})"),
        wrong=re.compile(together("wrong")),
        anywhere=re.compile(together("anywhere")),
        reproach=re.compile(together("reproach")),
        praise=re.compile(praise),
        but=re.compile(words("but")),
        asks=re.compile(words("asks")),
        remark=re.compile(together("remark")),
        again=re.compile(words("again")),
    )


def _either(fragments: Iterable[str]) -> str:
    return f"(?:{'|'.join(fragments)})"


def _words(fragments: list[str]) -> str:
    """As whole words, where the script has blanks between them."""
    either = _either(fragments)
    return rf"(?<!\w){either}(?!\w)" if SPACED.match(fragments[0]) else either
