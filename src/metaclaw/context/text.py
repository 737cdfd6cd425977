"""What of a skill is compared with a request, the passages of a request that may ask for one, and their words. Pure.

Skills carry fixed phrases of their proposers ("Use for requests like"), which say nothing: they are left out. An agent
wraps what its user asks into paragraphs that have nothing to do with it: each paragraph is a passage of its own, and
what looks like data (listings, logs, code) is none. Measured on the bench's long prompts: taking passages instead of
the whole raised the share of right skills among the first six from 0.35 to 0.9.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import regex

from metaclaw.types import Skill

FACETS = 3  # of a skill
MAX_QUERY_CHARACTERS = 4_000  # what is longer keeps its beginning and its end
MAX_CUE = 300  # of a request's first line: so much of it is compared with those in which a skill's rule was asked for
SHORT = 200  # characters; up to here a request is one passage, and longer ones are cut into passages like this
MOST_PASSAGES = 6  # each costs a pass over the index
ASIDE = 0.85  # what a passage counts that neither asks nor opens nor closes the request

FIXED_PHRASES = re.compile(
    r"How this user wants it done\. Use for requests like:|Not for: [^\n]{1,1000}\n\n(?=The example shows|It was said)"
    r"|Not for: .{1,1000}? Like:|Rule, in the user's words:|It was said of this request:"
    r"|The example shows the form; take names, dates and numbers from the request at hand\."
    r"|Example request:|Right answer:",
    re.DOTALL,
)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。？！])|(?<=;)\s")
ASKS = re.compile(r"[?？](?:\s|[\"')\]]|$)")
FENCED = re.compile(r"```.*?(?:```|\Z)", re.DOTALL)
TAG = re.compile(r"</?[A-Za-z_][\w-]*>")

WORD = re.compile(r"[^\W_]+")
WORD_WITH_MARKS = regex.compile(r"[\p{L}\p{N}][\p{L}\p{M}\p{N}]*")  # vowel signs belong to their words
UNSPACED = re.compile(  # scripts whose words are not told apart by blanks, and Hangul, whose particles stick to words
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff]+"
)
ACCENTS = re.compile("[\u0300-\u036f]")
STOP_WORDS = frozenset(
    # English
    "a about above after again all also am an and any are as at be been before being but by can could did do does doing"
    " done down each few for from get give go had has have he her here him his how i if in into is it its just let like"
    " make may me more most must my need no nor not now of off on once one only or other our out over own please put"
    " same say she should so some such take tell than that the their them then there these they this those through to"
    " too under until up us use very want was we were what when where which while who whom why will with would write"
    " you your yours"
    # German, French, Spanish: the few that are in every sentence
    " der die das den dem des ein eine einen einer und oder ist sind wie was wir ich sie er es mit von zu im auf fur an"
    " nicht bitte le la les un une des et ou est sont comment quel quelle que qui de du en pour avec sur dans je nous"
    " vous il elle ce ne pas el los las uno una y o es son como cual que de del en para con por yo nosotros se no lo al"
    .split()
)


@dataclass(frozen=True, slots=True)
class Passage:
    text: str
    weight: float


def facets(skill: Skill) -> tuple[str, str, str]:
    """Name, description and body, in words that tell this skill from others."""
    return skill.name.replace("-", " "), _telling(skill.description), _telling(skill.body)


def clipped(query: str) -> str:
    """What of a request is looked at."""
    if len(query) <= MAX_QUERY_CHARACTERS:
        return query
    half = MAX_QUERY_CHARACTERS // 2
    return f"{query[:half]}\n{query[-half:]}"


def passages(query: str) -> list[Passage]:
    """The parts of a request that may ask for something, the likeliest first. A short request is one part."""
    text = clipped(query).strip()
    if len(text) <= SHORT:
        return [Passage(text, 1.0)] if text else []
    parts = [part for part in _paragraphs(text) if _is_prose(part)] or [text[:SHORT]]
    asking = [bool(ASKS.search(part)) for part in parts]
    outer = {0, len(parts) - 1}
    order = sorted(range(len(parts)), key=lambda i: (-2 * asking[i] - (i in outer), -len(parts[i]), i))
    return [Passage(parts[i], 1.0 if asking[i] or i in outer else ASIDE) for i in order[:MOST_PASSAGES]]


def opening(query: str) -> str:
    """A request's first line, by which it is known to be like another."""
    return query.strip().partition("\n")[0][:MAX_CUE].strip()


def words(text: str) -> list[str]:
    """Lower-case words without accents, plurals and stop words; pairs of characters where a script has no blanks."""
    if text.isascii():
        found = WORD.findall(text.lower())
    else:
        plain = unicodedata.normalize("NFC", ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold())))
        found = [part for word in WORD_WITH_MARKS.findall(plain) for part in _parts(word)]
    return [normal for word in found if (normal := word if word.isdigit() else _normal(word))]


def _telling(text: str) -> str:
    return FIXED_PHRASES.sub(" ", text).strip()


def _paragraphs(text: str) -> Iterator[str]:
    """Line by line; a long line is cut at the ends of sentences, short sentences of a line stay together."""
    for line in TAG.sub("\n", FENCED.sub("\n", text)).splitlines():
        part = ""
        for sentence in SENTENCE_END.split(line):
            if part and len(part) + len(sentence) >= SHORT:
                yield part
                part = ""
            part = f"{part} {sentence}".strip()[: 2 * SHORT]
        if part:
            yield part


def _is_prose(text: str) -> bool:
    """Whether most of it is words: listings, logs and numbers ask for nothing."""
    if UNSPACED.search(text):
        return len(text) >= 4
    tokens = text.split()
    spelt = sum(token.strip("\"'.,:;!?()*#-").replace("-", "").replace("'", "").isalpha() for token in tokens)
    return spelt >= 3 and spelt >= 0.7 * len(tokens)


@lru_cache(maxsize=1 << 16)
def _normal(word: str) -> str:
    """The word as it is indexed; empty for a stop word. Not for numbers, each of which would push a word out."""
    return "" if word in STOP_WORDS else singular(word)


def singular(word: str) -> str:
    """The word without the ending of an English plural."""
    if len(word) > 3 and word.endswith("s") and word.isascii() and not word.endswith(("ss", "us", "is")):
        return word[:-3] + "y" if word.endswith("ies") and len(word) > 4 else word[:-1]
    return word


def _parts(word: str) -> Iterator[str]:
    """The word itself, or, of a run without blanks, each pair of neighbouring characters."""
    start = 0
    for run in UNSPACED.finditer(word):
        if run.start() > start:
            yield word[start : run.start()]
        characters = run.group()
        yield from (characters[i : i + 2] for i in range(max(1, len(characters) - 1)))
        start = run.end()
    if start < len(word):
        yield word[start:]
