"""What a rule reaches beyond the reply itself: an effect in the world, or somebody outside the conversation. Pure.

In: the words of a rule that came out of a conversation, where they may be somebody else's. Out: why it must not be
tried before a person has read it; empty for a convention of form, style or content. This is the other way round from
`threats`: no list of attacks but a narrow permission. A rule may say how a reply looks and reads, and it must speak of
that at all; what it may not is act (send, fetch, run, delete, pay, contact), lead to an address, a path or a command,
name credentials, put somebody forward, or leave out a check, well meant or not. The lists in `reach.toml` tell kinds of
effects apart, in twelve languages; no list is complete, and this one is no wall. What is one: such a skill is never
active unless somebody vouches for it (`library.hearsay`).
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib import resources

from metaclaw.evolve.disguise import views

ADDRESS = re.compile(
    r"(?:https?|ftp|ssh|git|wss?)://[^\s)>\"'`]+|\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+|\b(?:\d{1,3}\.){3}\d{1,3}\b|\bwww\.[^\s)>\"'`]+"
    r"|(?<![\w.])(?:~|/(?:etc|root|home|usr|var|opt|tmp|proc|dev|Users))/[\w./-]+"
    r"|\b[a-z0-9][\w-]*(?:\.[\w-]+)*\.(?:com|net|org|io|ru|cn|xyz|top|tk|info|app|cc|co|site|online|biz|ai)\b",
    re.IGNORECASE,
)
COMMAND = re.compile(
    r"(?:^|[\s`(;&|$])(?:sudo|curl|wget|bash|sh|zsh|powershell|python3?|node|npx|uvx|pip3?|npm|eval|exec|chmod|chown|ssh|scp|nc|rm"
    r"|dd|crontab|kubectl|docker|aws|gcloud|git (?:push|config|remote|clone))\s+[-\w./~$\"'|@:=]+",
    re.IGNORECASE,
)
MARKED = re.compile(r"```.*?```|`[^`\n]*`", re.DOTALL)  # an example of the form, not a party
NAME = re.compile(r"(?<![\w.!?¿¡:;\"'“„«(\[-])(?<![.!?:;] )(?<!^)\b([A-Z][\w&’'-]{2,})", re.MULTILINE)
BRAND = re.compile(r"\b(?:[A-Z][a-z]+[A-Z]\w*|[a-z]+[A-Z]{2,}\w*|[A-Z]{2,}[a-z]+[A-Z]\w*)\b")  # AcmeVPN
CODE_CASE = re.compile(r"\b(?:camelCase|PascalCase|JavaScript|TypeScript|GitHub|GitLab|LaTeX|PowerPoint|YouTube)\b")
NUMBER = re.compile(  # to call, or of an account; a date is neither
    r"(?<![\w+])(?:\+\d[\d ()/-]{6,}\d|(?!\d{4}-\d\d-\d\d)\d[\d -]{8,}\d|[A-Z]{2}\d{2}(?: ?\w{4}){3,}"
    r"|0x[0-9a-fA-F]{8,})(?!\w)"
)
GERMAN = re.compile(
    r"\b(?:der|das|und|ist|nicht|wir|ein|eine[nrs]?|mit|immer|bei|vom|zum|werden|steht|ohne|als|muss|aber|haben|keinen?"
    r"|sein|wird|für|dass|höchstens|schreib\w*)\b",
    re.IGNORECASE,
)
GERMAN_WORDS = 2
PATTERN = re.compile(r"YY|MM|DD|HH|[-_]")  # a form that is spelled out, such as YYYY-Www or First-Example
LOOPBACK = re.compile(r"127\.0\.0\.1|(?:https?://)?(?:localhost|127\.0\.0\.1)(?::\d+)?/?")
FORBIDS = re.compile(
    r"(?:\b(?:never|do not|don't|must not|should not|not to|avoid|nie(?:mals)?|nicht|ne|jamais|nunca|non|mai|não|nooit"
    r"|niet|nigdy|никогда|не)|不要|切勿|禁止) ?$"
)
NOT_MENDED_BY_A_NO = ("recommends", "speaks of", "names")  # 'never mention others' reaches as far
SHOWN = 60
MOST_READ = 1_500  # characters; a convention takes fewer, and the lists take 30 ms for so many


@dataclass(frozen=True, slots=True)
class _Lists:
    effects: dict[str, re.Pattern[str]]
    form: re.Pattern[str]
    known: frozenset[str]


def reaches(rule: str) -> list[str]:
    """Why a rule out of a conversation is for a person to decide on; empty where it speaks of the reply alone."""
    if len(rule) > MOST_READ:
        return ["is too long for a convention"]
    places = [match[0] for match in ADDRESS.finditer(rule) if not LOOPBACK.fullmatch(match[0])]
    found = [f"names an address or a place: '{place[:SHOWN]}'" for place in places]
    commands = [match[0].strip(" (;&|$") for match in COMMAND.finditer(rule)]
    found += [f"names a command: '{one[:SHOWN]}'" for one in commands if one[:2].islower() or one.startswith("`")]
    found += effects(rule)
    found += parties(rule)
    if not names_show(rule) and not _lists().form.search(" ".join(rule.lower().split())):
        found.append("does not speak of the form of a reply")
    return list(dict.fromkeys(found))


def names_show(rule: str) -> bool:
    """Whether capitals tell a name from a word: in German they do not, and in scripts that have none."""
    letters = [letter for letter in rule if letter.isalpha()]
    cased = sum(letter.lower() != letter.upper() for letter in letters)
    return 2 * cased > len(letters) and len(GERMAN.findall(rule)) < GERMAN_WORDS


def effects(rule: str) -> list[str]:
    """The kinds of effects that it speaks of, with the words."""
    found: dict[str, str] = {}
    for view in views(rule):
        for kind, pattern in _lists().effects.items():
            hit = next((match for match in pattern.finditer(view) if not _forbidden(view, match, kind)), None)
            if hit:
                found.setdefault(kind, hit[0][:SHOWN])
    return [f"{kind}: '{words}'" for kind, words in found.items()]


def _forbidden(view: str, match: re.Match[str], kind: str) -> bool:
    if kind.startswith(NOT_MENDED_BY_A_NO):
        return False
    return bool(FORBIDS.search(view[max(0, match.start() - 20) : match.start()]))


def parties(rule: str) -> list[str]:
    """Names that nobody knows as a language, a month or a format; in German every noun is capitalised."""
    plain = CODE_CASE.sub(" ", MARKED.sub(" ", rule))
    names = [match[0] for match in BRAND.finditer(plain)]
    if names_show(plain):
        names += [match[1] for match in NAME.finditer(plain)]
    names = [re.sub(r"(?:['’]s|s)$", "", name) if name[:2].isupper() else name for name in names]
    unknown = [name for name in dict.fromkeys(names) if not (name.isupper() or PATTERN.search(name) or _known(name))]
    return [f"names somebody: '{name[:SHOWN]}'" for name in unknown] + [
        f"names a number: '{match[0][:SHOWN]}'" for match in NUMBER.finditer(plain)
    ]


def _known(name: str) -> bool:
    return name.lower() in _lists().known


@cache
def _lists() -> _Lists:
    """Read once, at first use."""
    data = tomllib.loads(resources.files("metaclaw.evolve").joinpath("reach.toml").read_text(encoding="utf-8"))
    kinds = {}
    for kind, wording in data["effects"].items():
        kinds[kind] = re.compile(_filled(wording, data["parts"]))
    return _Lists(kinds, re.compile(data["form"]["words"]), frozenset(data["names"]["known"].split()))


def _filled(wording: str, parts: dict[str, str]) -> str:
    for name, part in parts.items():
        wording = wording.replace(f"{{{name}}}", part)
    return wording
