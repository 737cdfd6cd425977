"""The rules that one correction states, and how such a rule stands to what a skill says already. Pure.

In: the user's own words. Out: a part for each rule, with the right answer that was given for it. People correct several
things in one message, and say a rule again that they have said before: learned as one lump, a rule could neither be
found, proved nor replaced alone.
"""

from __future__ import annotations

import dataclasses
import re
from difflib import SequenceMatcher

from metaclaw.context.text import singular
from metaclaw.evolve.extractive import LEAD_IN, MIN_WORDS
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.telling import STOP_WORDS
from metaclaw.types import Skill

# The right answer to the request at hand, announced and in code marks, with the blanks and points after it.
ANSWER = re.compile(
    r"(?:\b(?:it|this|that)[ ])?(?:should (?:have been|be|look like|read)|correct(?: answer| one)?(?: is| would be)?"
    r"|expected)[^`\n]{0,40}:?\s*(?:```[\w-]*\n.*?\n?```|`[^`\n]+`)[ \t]*[.!]*",
    re.IGNORECASE | re.DOTALL,
)
LISTED = re.compile(r"^[ \t]*(?:[-*•]|\d{1,2}[.)])[ \t]+", re.MULTILINE)
SENTENCE_END = re.compile(r"(?<=[.!?])\s+|(?<=[。！？])|\n+")
RULE = re.compile(r"^Rule, in the user's words: (.*?)(?:\n\n|\Z)", re.DOTALL)
TEMPLATE = 0.4  # of two sentences' words, shared: 99 % of pairs of different rules share less than 0.26
IN_ORDER = 0.5  # of their words, in the same order: a rule said in other words shuffles them
SAYS_LITTLE = STOP_WORDS - frozenset(
    "up down before after above under over always never starts begin begins ends".split()
)
LONG_ENOUGH = 16  # characters of a rule that may be recognised inside another text
# Says that what holds now did not hold before, in twelve languages.
CHANGED = re.compile(
    r"\b(?:no longer(?! than\b)|(?:not any ?more|anymore)(?! than\b)|from (?:now|today) on|as of (?:now|today)"
    r"|starting (?:now|today)|(?:has|have|was) changed|changed (?:our|my|the)|(?:is|are|we|i) now(?! too\b)|new rule"
    r"|forget (?:the|what)|nicht mehr(?! als\b)|ab (?:jetzt|heute|sofort)|gilt nun|plus jamais|désormais|dorénavant"
    r"|(?:n'est|ne (?:\w+ )?)plus(?! de\b| que\b| d')|ya no|a partir de (?:ahora|hoy|agora|hoje)|d'ora in poi"
    r"|non (?:\w+ )?più(?! di\b| che\b)|não mais(?! de\b| d?o? ?que\b)|já não|niet meer(?! dan\b)"
    r"|vanaf (?:nu|vandaag)|voortaan|już nie|od (?:teraz|dziś|dzisiaj)"
    r"|больше не|отныне|впредь|с сегодняшнего)"
    r"\b|不再|从现在起|从今天起|改为|もう.{1,12}ない|今後は|これからは|더 이상|앞으로는|이제부터",
    re.IGNORECASE,
)
BEFORE_IT = 3  # words in front of a rule, in its own sentence, from which on they say something about it


def parts_of(own: str) -> tuple[str, ...]:
    """The rules that a correction states, each with its right answer if it has one. One where nothing tells them
    apart; none where there are no words."""
    words = LEAD_IN.sub("", own, count=1).strip()
    items = [item.strip() for item in LISTED.split(words)]
    if len(items) > 2 and all(len(item.split()) >= MIN_WORDS for item in items[1:]):
        heading = items[0].endswith((":", "：")) or len(items[0].split()) < MIN_WORDS
        return tuple(items[1:] if heading else items)
    found, start = list[str](), 0
    for answer in ANSWER.finditer(words):
        found.append(words[start : answer.end()].strip())
        start = answer.end()
    rest = words[start:].strip(" .,;\n")
    if len(rest.split()) >= MIN_WORDS or not found:
        found.append(rest and words[start:].strip())
    elif rest:
        found[-1] = f"{found[-1]} {rest}"
    return tuple(filter(None, found)) if len(found) > 1 else tuple(filter(None, [words]))


def about(failure: Failure, rule: str) -> Failure:
    """The failure with the words of this rule alone, where its user stated several."""
    parts = parts_of(failure.words.own)
    if len(parts) < 2:
        return failure
    wanted = _words(rule)
    part = max(parts, key=lambda one: len(wanted & _words(rule_in(one))) / max(1, len(wanted | _words(rule_in(one)))))
    return dataclasses.replace(failure, correction=part, check=None)


def rule_in(part: str) -> str:
    """The rule without its right answer."""
    return " ".join(ANSWER.sub(" ", LEAD_IN.sub("", part, count=1)).split()).strip(" ,;")


def rule_of(skill: Skill) -> str:
    """The rule that a skill states: what its user said, else all of its text."""
    found = RULE.match(skill.body)
    return rule_in(found[1] if found else skill.body)


def without(part: str, rule: str) -> tuple[str, bool]:
    """A part less a rule that it states word for word, and whether it does. What speaks *about* the rule in the same
    sentence, such as that it no longer holds, is no restatement of it."""
    before, stated, after = _around(part, rule)
    if not stated or _says_something_about_it(before):
        return part, False
    answer = ANSWER.match(after.lstrip(" .!"))
    rest = after.lstrip(" .!")[answer.end() :] if answer else after.lstrip(" .!")
    return " ".join(f"{before} {rest}".split()), True


def taken_back(text: str, rule: str) -> tuple[str, str]:
    """The clause that quotes a rule and says something about it, and the text without it; the first empty for none."""
    before, stated, after = _around(text, rule)
    if not stated or not _says_something_about_it(before):
        return "", text
    *others, clause = SENTENCE_END.split(before)
    return f"{clause} {rule}", " ".join([*others, after.lstrip(" .!")]).strip()


def same_template(part: str, rule: str) -> bool:
    """Whether two rules are one sentence with different particulars: other words that tell something, or other signs
    among the same words."""
    new, old = _words(rule_in(part)), _words(rule)
    if not new or not old or len(new & old) < TEMPLATE * len(new | old) or _plain(rule_in(part)) == _plain(rule):
        return False
    in_order = SequenceMatcher(None, _plain(rule_in(part)).split(), _plain(rule).split(), autojunk=False).ratio()
    return in_order >= IN_ORDER and (new == old or bool((new ^ old) - STOP_WORDS))


def changes(part: str, asked: str, rule: str, asked_before: str) -> bool:
    """Whether a part says a rule anew: in the same sentence, with other particulars.

    Not where the difference is one of what was asked (`asked` now, `asked_before` when the rule was said): 'In Germany
    ...' beside 'In America ...' are two rules.
    """
    if not same_template(part, rule):
        return False
    mine, theirs = _stems(rule_in(part)), _stems(rule)
    return not ((mine - theirs) & _stems(asked)) and not ((theirs - mine) & _stems(asked_before))


def differ_in_particulars(one: str, other: str) -> bool:
    """Whether two rules are one sentence about two things: each tells something in the place where the other tells
    something else. Where only one of them tells more, it is the same rule, said longer."""
    mine, theirs = _tokens(one), _tokens(other)
    return same_template(one, other) and bool(mine - theirs - SAYS_LITTLE and theirs - mine - SAYS_LITTLE)


def speaks_of_change(words: str) -> bool:
    """Whether the user says that a rule is another by now, and not only that it was missed."""
    return bool(CHANGED.search(words))


def sentences(text: str) -> list[str]:
    return [sentence.strip() for sentence in SENTENCE_END.split(text) if sentence.strip()]


def _around(part: str, rule: str) -> tuple[str, bool, str]:
    text, wanted = _plain(part), _plain(rule)
    at = text.find(wanted) if len(wanted) >= LONG_ENOUGH else -1
    if at < 0:
        return text, False, ""
    whole = " ".join(part.split())  # as `text`, but for its capitals
    return whole[:at].strip(), True, whole[at + len(wanted) :]


def _says_something_about_it(before: str) -> bool:
    last = SENTENCE_END.split(before)[-1] if before and before[-1] not in ".!?。！？" else ""
    return len(last.split()) >= BEFORE_IT


def _plain(text: str) -> str:
    """Without what does not change a rule: capitals, line ends, points at its end."""
    lowered = " ".join(text.split())
    return "".join(one.lower() if len(one.lower()) == 1 else one for one in lowered).rstrip(" .!,;:")


def _tokens(text: str) -> frozenset[str]:
    """The words with their signs: a rule may be about nothing else."""
    return frozenset(token.strip(".,;:") for token in _plain(text).split())


def _stems(text: str) -> frozenset[str]:
    """The words, in the singular: a rule speaks of invoices, a request of one."""
    return frozenset(map(singular, _words(text)))


def _words(text: str) -> frozenset[str]:
    return frozenset(re.findall(r"\w+", text.lower()))
