"""All 934 questions of a seed: 30 days with 346, then 14 days of 42, each day with its workspace.

A day's first question asks for what earlier days taught (the carry-over question); its second brings what is new today;
the rest practise, with more rules at once as the weeks go by. A rule is never asked in a choice before it was told.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from metaclaw.bench.workdays.choices import LETTERS, Cases, draw_choice, is_true, put
from metaclaw.bench.workdays.course import Question
from metaclaw.bench.workdays.documents import Document, Edit, Format
from metaclaw.bench.workdays.facts import KINDS, Field, draw_field
from metaclaw.bench.workdays.handwritten import handwritten
from metaclaw.bench.workdays.office import (
    CHANGES,
    DOCUMENT_KINDS,
    ITEMS,
    LIST_NAMES,
    PLANS,
    SUBJECTS,
    Office,
    draw_office,
)  # fmt: skip
from metaclaw.bench.workdays.questions import ChoiceQuestion, FileQuestion
from metaclaw.bench.workdays.rules import (
    DAYS,
    PART_ONE_DAYS,
    Event,
    House,
    Rule,
    draw_house,
    formats_of,
)  # fmt: skip
from metaclaw.bench.workdays.values import VALUE_FAMILIES

AnyQuestion = FileQuestion | ChoiceQuestion
FORMATS: Mapping[Format, str] = {"json": "a JSON file", "md": "a Markdown file (.md)", "csv": "a CSV file"}
HOW = {
    "json": "Use the facts' names as keys, write every value as text, and put the list into entries, as name and "
    "number.",
    "md": "Give it a heading and two sections: the facts, one line each as name and value with a colon between, then "
    "the list.",
    "csv": "Begin with a row of column titles, then one row for each fact and each entry: name and value.",
}


@dataclass(frozen=True, slots=True)
class Day:
    number: int
    part: int
    greeting: str
    files: Mapping[str, str]
    questions: Sequence[AnyQuestion]
    seeded: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True)
class Workdays:
    seed: int
    office: Office
    house: House
    days: Sequence[Day]

    @property
    def questions(self) -> list[AnyQuestion]:
        return [question for day in self.days for question in day.questions]

    @property
    def persona(self) -> str:
        return f"You are the assistant of {self.office.lead} at {self.office.company}."

    @property
    def carries_files(self) -> bool:
        return False  # each file question stands for itself

    @property
    def json_as_json(self) -> bool:
        return False  # a rule may ask how far it is indented

    @property
    def answer_tokens(self) -> int:
        return 600

    def cut(self, days: int, questions: int) -> Workdays:
        """The first days, with the first questions of each; 0 questions are all."""
        kept = [replace(day, questions=day.questions[: questions or None]) for day in self.days[:days]]
        return replace(self, days=kept)

    def handwritten(self, question: Question) -> str:
        own = next(one for one in self.questions if one.id == question.id)
        return handwritten(self.seed, own.rules)


def generate(seed: int) -> Workdays:
    """The same seed gives the same days, to the byte."""
    office, house = draw_office(seed, DAYS), draw_house(seed)
    days = [_day(seed, number, office, house) for number in range(1, DAYS + 1)]
    return Workdays(seed, office, house, days)


def counts(number: int) -> tuple[int, int]:
    """File questions and choices of a day. In all 224 and 122 in Part I, 154 and 434 in Part II."""
    if number > PART_ONE_DAYS:
        return 11, 31
    return (8 if number % 2 == 0 and number < 29 else 7), (5 if number in (11, 21) else 4)


def _day(seed: int, number: int, office: Office, house: House) -> Day:
    rng = random.Random(f"day {seed} {number}")
    event = house.today(number)
    files, choices = counts(number)
    kinds = ["choice"] * choices + ["file"] * (files - 2)
    rng.shuffle(kinds)
    maker = _Maker(rng, number, office, house, event)
    questions: list[AnyQuestion] = [maker.carry_over(), maker.news()]
    questions += [maker.choice() if kind == "choice" else maker.practice() for kind in kinds]
    return Day(number, 1 if number <= PART_ONE_DAYS else 2, office.greeting(number), maker.files, questions)


class _Maker:
    """Makes the questions of one day, one after the other, and the files that they are about."""

    def __init__(self, rng: random.Random, number: int, office: Office, house: House, event: Event | None) -> None:
        self._rng = rng
        self._number = number
        self._office = office
        self._today = office.days[number - 1]
        self._event = event
        self._before = house.known(number, with_today=False)
        self._after = house.known(number, with_today=True)
        self._subjects = rng.sample(SUBJECTS, len(SUBJECTS))
        self._made = 0
        self._asked = 0
        self.files: dict[str, str] = office.files(number)

    def carry_over(self) -> FileQuestion:
        """On what earlier days taught, leaving out what changes today; on the first day, on nothing but the facts."""
        today = self._event.rule.family if self._event else ""
        known = {family: rule for family, rule in self._before.items() if family != today and not rule.revoked}
        rules = self._some(list(known.values()), self._size()) if known else []
        return self._file(rules, self._before, "carry-over")

    def news(self) -> FileQuestion:
        """The first question under today's new rule, which nobody could know; without news, practice."""
        if self._event is None:
            return self.practice()
        return self._file([self._event.rule], self._after, self._event.kind)

    def practice(self) -> FileQuestion:
        return self._file(self._some(list(self._after.values()), self._size()), self._after, "")

    def choice(self) -> ChoiceQuestion:
        rules = [rule for rule in self._after.values() if not rule.revoked]
        asked, options, about = draw_choice(self._rng, rules, Cases(self._fields, self._sample))
        known = {rule.family: rule for rule in about}
        answer = [letter for letter, option in zip(LETTERS, options, strict=True) if is_true(option, known)]
        return ChoiceQuestion(
            self._next_id(), self._number, self._part, put(asked, options), tuple(options), frozenset(answer), about
        )

    def _size(self) -> int:
        """How many rules a file is checked for: one in the first week, up to three from the fourth on."""
        most = 1 if self._number <= 5 else 2 if self._number <= 15 else 3
        return self._rng.randint(2 if self._number > PART_ONE_DAYS else 1, most)

    def _some(self, rules: Sequence[Rule], size: int) -> list[Rule]:
        """Rules that one document can be checked for; the newest half is twice as likely."""
        pool = [*rules, *rules[len(rules) // 2 :]]
        chosen = [self._rng.choice(pool)]
        formats = formats_of(chosen[0].family)
        for rule in self._rng.sample(pool, len(pool)):
            if len(chosen) == size:
                break
            if rule not in chosen and formats & formats_of(rule.family):
                chosen.append(rule)
                formats &= formats_of(rule.family)
        return chosen

    def _file(self, rules: Sequence[Rule], house: Mapping[str, Rule], event: str) -> FileQuestion:
        new = [name for name in FORMATS if all(name in formats_of(rule.family) for rule in rules)]
        number = self._next_id()
        document = self._new(self._rng.choice(new), rules) if new else self._change()
        prompt, path = (self._put_new(document) if document.edit is None else self._put_change(document))
        return FileQuestion(
            number, self._number, self._part, prompt, document, tuple(rules), dict(house), (path,), event
        )

    def _new(self, wanted_as: Format, rules: Sequence[Rule]) -> Document:
        wanted = [VALUE_FAMILIES[rule.family][0] for rule in rules if rule.family in VALUE_FAMILIES]
        return self._document(wanted_as, self._fields([*wanted, *self._fillers(wanted)]))

    def _fillers(self, wanted: Sequence[str]) -> list[str]:
        others = [kind for kind in KINDS if kind not in wanted]
        return self._rng.sample(others, max(1, 3 - len(wanted)))

    def _fields(self, kinds: Sequence[str]) -> tuple[Field, ...]:
        return tuple(draw_field(self._rng, self._today, kind) for kind in kinds)

    def _sample(self, wanted_as: str) -> Document:
        """A document that no question asks for, to show a rule on."""
        found = [known for known in FORMATS if known == wanted_as]
        return self._document(found[0], self._fields(self._fillers(()))) if found else self._change()

    def _document(self, written_as: Format, fields: Sequence[Field]) -> Document:
        title = self._subjects[self._made % len(self._subjects)]
        self._made += 1
        kind = self._rng.choice(DOCUMENT_KINDS)
        return Document(kind, title, written_as, self._today, self._task_number(), tuple(fields), self._items())

    def _items(self) -> tuple[tuple[str, int], ...]:
        """Three, in an order that none of the rules on order would give, with no ties for any of them."""
        while True:
            names, numbers = self._rng.sample(ITEMS, 3), self._rng.sample(range(11, 99), 3)
            keys: list[Sequence[object]] = [names, numbers, [n[-1] for n in names], [len(n) for n in names]]
            untied = all(len(set(key)) == 3 for key in keys)
            pairs = list(zip(names, numbers, strict=True))
            ordered = [
                sorted(pairs), sorted(pairs, key=lambda p: -p[1]), sorted(pairs, key=lambda p: p[1]),
                sorted(pairs, key=lambda p: p[0][-1]), sorted(pairs, key=lambda p: -len(p[0])),
            ]  # fmt: skip
            if untied and pairs not in ordered:
                return tuple(pairs)

    def _change(self) -> Document:
        begin, values = self._rng.choice(CHANGES)
        old, new = self._rng.sample(values, 2)
        title = f"{self._rng.choice(PLANS)} plan"
        self._made += 1
        path = f"plans/{title.split()[0]}{self._made:02}.txt"
        edit = Edit(path, f"{begin}{old}", f"{begin}{new}")
        return Document("plan", title, "txt", self._today, self._task_number(), edit=edit)

    def _task_number(self) -> int:
        return self._rng.randrange(1000, 9000)

    def _put_new(self, document: Document) -> tuple[str, str]:
        path = f"inbox/note{self._made:02}.txt"
        listed = self._rng.choice(LIST_NAMES)
        self.files[path] = _note(document, listed, self._rng)
        names = ", ".join(field.name for field in document.fields)
        return (
            f"Task {document.number}: write up {path} as {FORMATS[document.format]}. The kind of document is "
            f"{document.kind}, the subject {document.title}. It holds the facts {names}, then the list of {listed} "
            f"with their numbers. {HOW[document.format]} Today is {_spoken_today(document)}.",
            path,
        )

    def _put_change(self, document: Document) -> tuple[str, str]:
        assert document.edit  # noqa: S101 - the caller looked
        path = document.edit.path
        lines = [f"The {document.title} of sprint {self._office.sprint(self._number)}", document.edit.old,
                 f"Contact: {self._office.lead}", "Everything else stays as agreed"]  # fmt: skip
        self.files[path] = "\n".join(lines) + "\n"
        return (
            f"Task {document.number}: in {path}, the {document.title}, change the line {document.edit.old} into "
            f"{document.edit.new} and leave the other lines as they are. Today is {_spoken_today(document)}.",
            path,
        )

    def _next_id(self) -> str:
        self._asked += 1
        return f"d{self._number:02}q{self._asked:02}"

    @property
    def _part(self) -> int:
        return 1 if self._number <= PART_ONE_DAYS else 2


def _spoken_today(document: Document) -> str:
    return f"{document.day:%A}, {document.day.day} {document.day:%B %Y}"


def _note(document: Document, listed: str, rng: random.Random) -> str:
    """The facts as a colleague jots them down, in any order."""
    fields = list(document.fields)
    rng.shuffle(fields)
    told = [f"{field.name}: {field.plain}" for field in fields]
    entries = [f"{name} {number}" for name, number in document.items]
    return "\n".join([*told, "", f"{listed.capitalize()}", *entries]) + "\n"

