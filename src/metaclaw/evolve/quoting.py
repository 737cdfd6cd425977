"""What of a message is the user's own, and what is somebody else's text that the user pasted or passed on. Pure.

In: a message. Out: the user's own words, with `[...]` where foreign text stood, and that text. A document, a mail or a
web page may hold sentences that read like a correction; who pastes one does not say them. A right answer that the user
announces ("it should have been ...") is the user's own, in quotation marks or not.
"""

from __future__ import annotations

import re
import tomllib
import unicodedata
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from metaclaw.evolve.reach import effects, parties

GAP = "[...]"
TRAILED_CHARACTERS = 20  # before an 'is in the text'; fewer are a pronoun or a name
MAX_READ = 20_000
REMEMBERED = 64  # texts, each as long as a request
SHORT_WORDS, SHORT_CHARACTERS = 6, 40  # a quotation up to here is a name or a wording, not a text of its own

FENCE = re.compile(r"```[^\n]*\n.*?(?:\n?```|\Z)|~~~[^\n]*\n.*?(?:\n?~~~|\Z)", re.DOTALL)
BLOCKQUOTE = re.compile(r"(?:^[ \t]*>[^\n]*(?:\n|\Z))+", re.MULTILINE)
TAGGED = re.compile(  # a tag that is not closed, in code marks or with letters around it, is a blank to be filled in
    r"<(?P<tag>[A-Za-z][\w:-]{0,40})\b[^<>\n]*>.*?</(?P=tag)\s*>"
    r"|(?<![\w`?./-])<[A-Za-z][\w:-]{0,40}\b[^<>\n]*>(?![\w./-]).*\Z|<!--.*?(?:-->|\Z)",
    re.DOTALL,
)
QUOTATION = re.compile(
    r"\"[^\"\n]{1,4000}\"|“[^”\n]{1,4000}”|„[^”“\n]{1,4000}[”“]|«[^»\n]{1,4000}»|「[^」\n]{1,4000}」|『[^』\n]{1,4000}』"
    r"|(?<!\w)['‘][^'’\n]{1,4000}['’](?!\w)|`[^`\n]{1,4000}`"
)
ASIDE = re.compile(r"\([^()\n]{40,2000}\)|（[^（）\n]{20,2000}）")
COLON = re.compile(
    r"(?P<lead>[^.!?。！？:：\n]{1,200})(?::[ \t\n]|：)(?P<passage>[^\n]{25,}|[^\n\x00-\x7f]{10,}[^\n]*)"
)
LISTED = re.compile(r"[ \t]*(?:[-*•]|\d+[.)]) ")
QUOTES = "\"'“„«「『"
HEADING_WORDS = 3
CLAUSE = re.compile(r"(?<=[.!?。！？]) +|(?<=[。！？])|(?<= [-–—]) +")
SENTENCE = re.compile(r"(?<=[.!?。！？]) +|(?<=[。！？])")
MOST_ASKED = 1_500  # characters of a request's own line: no proposer reads more
NEVER_ASKED = ("recommends", "turns off", "speaks of")  # kinds of effects that no request has to name
OBJECT = re.compile(r"\{\s*[\"'][^{}]{40,}\}", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Wordings:
    """`attributed`: says that somebody else says what follows, as in 'the page says'.
    `trailing`: the same of what stands before, as in 'is in the text'.
    `handed_over`: in a line that ends with a colon, says that what follows is to be worked on.
    `forwarded` begins a text of others, and so does `mail_head`.
    `announced` ends just before a right answer that the user gives.
    `directive`: tells somebody what to do from now on.
    `asking`: a clause that asks something.
    `shows`: says in such a line that what follows is how the user wants it.
    `ourselves`: speaks of what the user, or those with the user, do or want.
    `definite`: speaks of one certain thing, as in 'the flyer'.
    `left_out`: says that something was left out, and `part` names a part of a text: 'the last line is missing'.
    `points_back`: speaks of what stands before, as in 'that was dropped'.
    `conditional` ends with a case in which somebody says something: a rule for that case is the user's own.
    """

    attributed: re.Pattern[str]
    trailing: re.Pattern[str]
    handed_over: re.Pattern[str]
    forwarded: re.Pattern[str]
    mail_head: re.Pattern[str]
    announced: re.Pattern[str]
    directive: re.Pattern[str]
    conditional: re.Pattern[str]
    asking: re.Pattern[str]
    shows: re.Pattern[str]
    ourselves: re.Pattern[str]
    definite: re.Pattern[str]
    left_out: re.Pattern[str]
    part: re.Pattern[str]
    points_back: re.Pattern[str]


@dataclass(frozen=True, slots=True)
class Words:
    """`own` is what the user said, `foreign` what was only passed on."""

    own: str
    foreign: tuple[str, ...]

    @property
    def passes_orders(self) -> bool:
        """Whether the foreign text tells somebody what to do from now on."""
        return any(wordings().directive.search(text) for text in self.foreign)


@lru_cache(maxsize=REMEMBERED)  # a lesson asks forty times for the same few texts
def told_apart(text: str) -> Words:
    """The user's own words, and the rest. What is too long to be read counts as foreign."""
    read, beyond = unicodedata.normalize("NFC", text[:MAX_READ]), text[MAX_READ:]
    foreign = [beyond] if beyond else []
    own = read
    for found in (FENCE, TAGGED, BLOCKQUOTE, OBJECT):
        own = _taken_out(own, found, foreign, unless_announced=found is FENCE)
    for found in (wordings().forwarded, wordings().mail_head):
        if match := found.search(own):
            foreign.append(own[match.start() :])
            own = f"{own[: match.start()]}{GAP}"
    own = _handed_over_out(own, foreign)
    own = _later_paragraphs_out(own, foreign)
    own = _attributed_out(own, foreign)
    own = "\n".join(_trailing_out(line, foreign) for line in own.split("\n"))
    own = _taken_out(own, QUOTATION, foreign, unless_announced=True, unless_short=True)
    own = ASIDE.sub(lambda match: _aside_out(match.group(0), foreign), own)
    own = COLON.sub(lambda match: _introduced_out(match, foreign), own)
    return Words(tidy(own), tuple(passage for passage in foreign if passage.strip(f" \n{GAP}")))


def marked(text: str) -> list[str]:
    """The passages of a text that are marked as somebody else's; a paragraph of its own is not."""
    read, found = text[:MAX_READ], list[str]()
    for pattern in (FENCE, TAGGED, BLOCKQUOTE, OBJECT, QUOTATION):
        found += [match[0] for match in pattern.finditer(read) if not _is_short(match[0])]
    for pattern in (wordings().forwarded, wordings().mail_head):
        found += [read[match.start() :] for match in [pattern.search(read)] if match]
    _handed_over_out(read, found)
    return found


@lru_cache(maxsize=REMEMBERED)
def asked(text: str) -> Words:
    """The same for a request, more strictly: who asks begins with the question, and material follows in lines below.

    A clause after the first counts as the user's own only if it asks something: it may be material too, and what it
    states must not get into a skill.
    """
    line, _, rest = text.strip().partition("\n")
    if rest.strip() and not line.rstrip().endswith((":", "?", "：", "？")):  # perhaps the material comes first
        return Words(GAP, (text,))
    read, beyond = line[:MOST_ASKED], line[MOST_ASKED:]
    first, foreign = told_apart(read), [beyond] if beyond else list[str]()
    own = _taken_out(first.own, QUOTATION, foreign, unless_announced=False, unless_short=True)
    own = _assertions_out(COLON.sub(lambda match: _cut(match, foreign), own), foreign)
    own = _statements_out(own, foreign)
    own = f"{own} {GAP}" if rest.strip() or beyond else own
    return Words(tidy(own), (*first.foreign, *foreign, *([rest] if rest else [])))


def _taken_out(
    text: str, pattern: re.Pattern[str], foreign: list[str], *, unless_announced: bool, unless_short: bool = False
) -> str:
    def one(match: re.Match[str]) -> str:
        passage = match.group(0)
        if (unless_short and _is_short(passage)) or (unless_announced and _announced(text[: match.start()])):
            return passage
        foreign.append(passage)
        return GAP

    return pattern.sub(one, text)


def _aside_out(passage: str, foreign: list[str]) -> str:
    """Brackets that explain a word of the sentence stay; a sentence of its own in them may be anybody's."""
    inside = passage[1:-1].strip()
    sentence = inside[:1].isupper() or inside[:1] in QUOTES or not inside[:1].isascii()
    if not sentence and not wordings().directive.search(inside) and not wordings().attributed.search(inside):
        return passage
    foreign.append(passage)
    return GAP


def _handed_over_out(text: str, foreign: list[str]) -> str:
    """Without what follows a line like 'here is the mail again:'."""
    for line in re.finditer(r"^[^\n]*[:：][ \t]*$", text, re.MULTILINE):
        head, rest = line.group(0).rstrip(" \t:："), text[line.end() :]
        if rest.strip() and wordings().handed_over.search(head) and not wordings().shows.search(head):
            foreign.append(rest)
            return f"{text[: line.end()]}\n{GAP}"
    return text


def _later_paragraphs_out(text: str, foreign: list[str]) -> str:
    """Only the first paragraph, and those after it that list what it says."""
    first, *later = re.split(r"\n[ \t]*\n", text)
    kept = [first]
    for paragraph in later:
        if LISTED.match(paragraph) or _announced(kept[-1]):
            kept.append(paragraph)
        else:
            foreign.append(paragraph)
            kept.append(GAP)
    return "\n\n".join(kept)


def _introduced_out(match: re.Match[str], foreign: list[str]) -> str:
    """A clause and, after its colon, a sentence: the user's only where the clause says so, or is but a heading."""
    lead, passage = match["lead"], match["passage"].strip()
    says_so = wordings().shows.search(lead) or wordings().ourselves.search(lead) or _announced(f"{lead}:")
    heading = len(lead.split()) <= HEADING_WORDS and not wordings().definite.search(lead)
    sentence = passage[:1].isupper() or passage[:1] in QUOTES or not passage[:1].isascii()
    if says_so or heading or not (sentence or wordings().directive.search(passage)):
        return match.group(0)
    return _cut(match, foreign)


def _trailing_out(line: str, foreign: list[str]) -> str:
    """Without what stands before an 'is in the text', from the start of its line or the last such place."""
    kept, start = list[str](), 0
    for match in wordings().trailing.finditer(line):
        passage = line[start : match.start()].rstrip()
        if len(passage) >= TRAILED_CHARACTERS:
            foreign.append(passage)
            kept.append(f"{GAP} {match.group(0)}")
            start = match.end()
    return "".join([*kept, line[start:]])


def _assertions_out(text: str, foreign: list[str]) -> str:
    """A request without the sentences after its first that name a party or an effect: perhaps its material.

    The first one, which asks for something, may do both; what it may not is put somebody forward or leave out a check.
    """
    kept: list[str] = []
    for sentence in SENTENCE.split(text):
        found = [one for one in effects(sentence) if kept or one.startswith(NEVER_ASKED)]
        if found or (kept and parties(sentence)):
            foreign.append(sentence)
            kept.append(GAP)
        else:
            kept.append(sentence)
    return " ".join(kept)


def _statements_out(text: str, foreign: list[str]) -> str:
    """A request without the clauses after its first that ask nothing."""
    first, *later = CLAUSE.split(text)
    kept = [first]
    for clause in later:
        if clause == GAP or wordings().asking.search(clause):
            kept.append(clause)
        elif clause:
            foreign.append(clause)
            kept.append(GAP)
    return " ".join(kept)


def _cut(match: re.Match[str], foreign: list[str]) -> str:
    foreign.append(match["passage"])
    return f"{match['lead']}: {GAP}"


def _attributed_out(text: str, foreign: list[str]) -> str:
    """Without what follows a 'the page says', to the end of its paragraph."""
    paragraphs = []
    for paragraph in re.split(r"(\n[ \t]*\n)", text):
        match = _attribution(paragraph)
        rest = paragraph[match.end() :] if match else ""
        if match is None or (_is_short(rest.strip(" .!:\n")) and not wordings().directive.search(rest)):
            paragraphs.append(paragraph)
            continue
        foreign.append(rest)
        paragraphs.append(f"{paragraph[: match.end()]} {GAP}")
    return "".join(paragraphs)


def _attribution(text: str) -> re.Match[str] | None:
    """The first 'the page says' that is none of 'when a page says'."""
    found = wordings().attributed.finditer(text)
    return next((match for match in found if not wordings().conditional.search(text[: match.end()])), None)


def _announced(before: str) -> bool:
    """Whether what stands before a quotation says that it is the right answer, in the user's own name."""
    line = before[-160:].rpartition("\n\n")[2]
    return bool(wordings().announced.search(line.rstrip())) and not wordings().attributed.search(line)


def _is_short(passage: str) -> bool:
    return len(passage.split()) <= SHORT_WORDS and len(passage) <= SHORT_CHARACTERS


def tidy(text: str) -> str:
    one_gap = re.sub(rf"(?:\s*{re.escape(GAP)})+", f" {GAP}", text)
    apart = re.sub(rf"({re.escape(GAP)})(?=\w)", r"\1\n", one_gap)  # what follows begins a line of its own
    return re.sub(r"[ \t]+\n", "\n", apart).strip()


@cache
def wordings() -> Wordings:
    """Read once, at first use."""
    data = tomllib.loads(resources.files("metaclaw.evolve").joinpath("quoting.toml").read_text(encoding="utf-8"))
    found = dict[str, re.Pattern[str]]()
    for name, wording in data["wordings"].items():
        found[name] = re.compile(_filled(wording, data["parts"]), re.IGNORECASE | re.MULTILINE)
    return Wordings(**found)


def _filled(wording: str, parts: dict[str, str]) -> str:
    for name, part in parts.items():
        wording = wording.replace(f"{{{name}}}", part)
    return wording
