"""The labelled set of the retrieval bench: skills, queries that need one of them or none, and distractors.

Rules, paraphrases, unrelated questions, and the words of distractors are written by hand in the text files beside this
one; blanks in them are filled from a seed. Skills are worded as `metaclaw.evolve` words them (a test holds them to it).
Tuning and held-out queries share no rule, no unrelated question and no prompt that stands around them.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

from metaclaw.types import Skill

TUNING_FAMILIES = frozenset(
    "dates sql invoices podcast dentist theatre pool roastery kindergarten nihongo".split()
)
SKILL_BLANKS: Mapping[str, Sequence[str]] = {
    "person": ("Ann", "Bob", "Carla", "David", "Elena"),
    "client": ("Acme", "Northwind", "Okafor Ltd", "Lindqvist"),
    "place": ("Leeds", "Bremen", "Galway", "Tartu"),
    "day": ("5 January 2026", "12 February 2026", "20 March 2026"),
    "dish": ("lentil soup", "apple cake", "rye bread"),
    "piece": ("the Minuet", "Blue Morning", "the Ninth"),
    "plant": ("beans", "apple trees", "leeks"),
}
QUERY_BLANKS: Mapping[str, Sequence[str]] = {
    "person": ("Ivan", "Julia", "Karim", "Laura", "Marco", "Nadia"),
    "client": ("Baumann", "Sorrento Foods", "Ito Brothers", "Halvorsen"),
    "place": ("Turin", "Malmö", "Porto", "Ghent"),
    "day": ("6 July 2026", "14 August 2026", "3 October 2026"),
    "dish": ("onion tart", "fish stew", "plum jam"),
    "piece": ("the Waltz", "Silver Road", "the Fourth"),
    "plant": ("carrots", "cherry trees", "lettuce"),
}
ASKED = ("near", "near", "reworded", "reworded", "far")  # how far each way of asking is from the skill's own words
UNRELATED_FILLS = 12  # distinct questions that one template may give, at most
BLANK = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True, slots=True)
class Query:
    """`skill` is the name of the right one, or None where none is. `kind` and `dress` are the slices it counts in."""

    text: str
    skill: str | None
    kind: str
    dress: str = "plain"


@dataclass(frozen=True, slots=True)
class LabelledSet:
    skills: tuple[Skill, ...]
    tuning: tuple[Query, ...]
    held_out: tuple[Query, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    family: str
    name: str
    request: str
    rule: str
    answer: str
    asked: tuple[str, ...]
    subjects: tuple[Sequence[str], Sequence[str]]  # of the skill, of the queries


def labelled_set(seed: int) -> LabelledSet:
    rng = random.Random(seed)
    rules, neighbours = _rules()
    skills = tuple(_skill(rule, rules, rng) for rule in rules)
    tuning, held_out = list[Query](), list[Query]()
    for rule in rules:
        tuned = rule.family in TUNING_FAMILIES
        (tuning if tuned else held_out).extend(_asked(rule, "tune" if tuned else "test", rng))
    held_out += [Query(text, name, "foreign") for name, text in (line.split(" | ") for line in _lines("foreign.txt"))]
    for family, question in neighbours:
        (tuning if family in TUNING_FAMILIES else held_out).append(Query(question, None, "neighbour"))
    tuning += _unrelated("tune", rng)
    held_out += _unrelated("test", rng)
    return LabelledSet(skills, tuple(tuning), tuple(held_out))


def distractors(count: int, seed: int) -> list[Skill]:
    """So many skills of other fields; fewer are the beginning of more."""
    section = _sections("distractors.txt")
    things, places, words, colours = (section[name][0].split(", ") for name in ("things", "places", "words", "colours"))
    aspects = [line.split(" | ") for line in section["aspects"]]
    rng = random.Random(seed)
    combinations = list(itertools.product(things, aspects, places))
    rng.shuffle(combinations)
    made = []
    for thing, (aspect, request, rule, answer), place in combinations[:count]:
        x, y = rng.sample(words, 2)
        colour, colour2 = rng.sample(colours, 2)
        blanks = {"thing": thing, "place": place, "x": x, "y": y, "X": x.split()[-1][:3].upper(), "colour": colour,
                  "colour2": colour2, "n": str(rng.randrange(3, 60))}
        name = re.sub(r"\W+", "-", f"{thing} {aspect} {place}".lower())
        made.append(_worded(name, *(BLANK.sub(lambda m: blanks[m[1]], text) for text in (request, rule, answer))))  # noqa: B023
    return made


def _skill(rule: Rule, rules: Sequence[Rule], rng: random.Random) -> Skill:
    blanks = {"subject": rule.subjects[0]} if rule.subjects[0] else {}
    request, rule_text, answer = _filled((rule.request, rule.rule, rule.answer), {**SKILL_BLANKS, **blanks}, rng)
    siblings = [other.name for other in rules if other.family == rule.family and other.name != rule.name]
    not_for = rng.choice(siblings) if rng.random() < 1 / 3 else ""
    return _worded(rule.name, _capital(request), rule_text, answer, not_for)


def _worded(name: str, request: str, rule: str, answer: str, not_for: str = "") -> Skill:
    """As the extractive proposer words it, or, with `not_for`, as a model does."""
    description = f"How this user wants it done. Use for requests like: {request}"
    if not_for:
        description = f"Requests for {_plain(name)}. Not for: {_plain(not_for)} Like: {request}"
    body = (
        f"Rule, in the user's words: {rule}\n\n"
        "Not for: requests of another kind.\n\n"
        "The example shows the form; take names, dates and numbers from the request at hand.\n\n"
        f"Example request: {request}\nRight answer:\n{answer}"
    )
    return Skill(name, description, body, origin="model" if not_for else "extractive")


def _plain(name: str) -> str:
    return name.replace("-", " ")


def _asked(rule: Rule, side: str, rng: random.Random) -> Iterator[Query]:
    """Each way of asking as it is, one also with slips of the finger, one also inside an agent's prompt."""
    blanks = {"subject": rule.subjects[1]} if rule.subjects[1] else {}
    texts = [_capital(text) for text in _filled(rule.asked, {**QUERY_BLANKS, **blanks}, rng)]
    for kind, text in zip(ASKED, texts, strict=True):
        yield Query(text, rule.name, kind)
    yield Query(_mistyped(texts[0], rng), rule.name, ASKED[0], "typos")
    yield Query(_around(texts[1], side, rng), rule.name, ASKED[1], "prompt")


def _unrelated(side: str, rng: random.Random) -> Iterator[Query]:
    """As many questions as the templates give, one in six with slips, one in six inside a prompt."""
    section = _sections("unrelated.txt")
    blanks = {name: values.split(", ") for name, values in (line.split(" = ") for line in section["blanks"])}
    for template in section[side]:
        names = BLANK.findall(template)
        choices = list(itertools.product(*(blanks[name] for name in names)))
        for values in rng.sample(choices, min(len(choices), UNRELATED_FILLS)):
            text = BLANK.sub("{}", template).format(*values)
            dress = rng.choice(("plain", "plain", "plain", "plain", "typos", "prompt"))
            dressed = {"plain": text, "typos": _mistyped(text, rng), "prompt": _around(text, side, rng)}[dress]
            yield Query(dressed, None, "unrelated", dress)


def _filled(texts: Sequence[str], pools: Mapping[str, Sequence[str]], rng: random.Random) -> list[str]:
    """The same choice for the same blank in all of the texts."""
    chosen = {name: rng.choice(values) for name, values in pools.items()} | {"n": str(rng.randrange(10, 990))}
    return [BLANK.sub(lambda match: chosen[match[1]], text) for text in texts]


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _mistyped(text: str, rng: random.Random) -> str:
    """One of the longer words with neighbouring letters swapped, one lost or one doubled."""
    words = text.split(" ")
    long = [i for i, word in enumerate(words) if len(word) > 4 and word.isalpha() and word.isascii()]
    for i in rng.sample(long, min(1, len(long))):
        word, at = words[i], rng.randrange(1, len(words[i]) - 2)
        slips = (word[:at] + word[at + 1] + word[at] + word[at + 2 :], word[:at] + word[at + 1 :],
                 word[:at] + word[at] + word[at:])
        words[i] = rng.choice(slips)
    return " ".join(words)


def _around(text: str, side: str, rng: random.Random) -> str:
    return rng.choice(_prompts()[side]).replace("{ask}", text)


@cache
def _prompts() -> dict[str, list[str]]:
    parts = re.split(r"^\[(\w+)\]\n", _text("prompts.txt"), flags=re.MULTILINE)
    return {name: text.strip("\n").split("\n---\n") for name, text in zip(parts[1::2], parts[2::2], strict=True)}


@cache
def _rules() -> tuple[list[Rule], list[tuple[str, str]]]:
    rules, neighbours = list[Rule](), list[tuple[str, str]]()
    for family, lines in _sections("rules.txt").items():
        subjects: tuple[Sequence[str], Sequence[str]] = ((), ())
        for line in lines:
            if line.startswith("= "):
                of_skills, of_queries = line[2:].split(" | ")
                subjects = (of_skills.split(", "), of_queries.split(", "))
            elif line.startswith("? "):
                neighbours.append((family, line[2:]))
            else:
                name, request, rule, answer, *asked = line.split(" | ")
                rules.append(Rule(family, name, request, rule, answer, tuple(asked), subjects))
    return rules, neighbours


def _sections(name: str) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for line in _lines(name):
        if line.startswith("["):
            current = found.setdefault(line[1:-1], [])
        else:
            current.append(line)
    return found


def _lines(name: str) -> list[str]:
    return [line for line in _text(name).splitlines() if line and not line.startswith("#")]


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
