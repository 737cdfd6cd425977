"""A small working week with house conventions that no model can know.

Comes in: a seed and how many tasks are wanted of each kind. Goes out: `Task` values, each with its prompt, a
deterministic check (a regular expression over the reply) and the correction that a colleague would
give in plain words. Practice and exam draw their subjects, people and dates from disjoint pools and
their wording from disjoint templates, so that no exam prompt was ever trained on.

`plain` tasks have no house convention: they are what a model can do anyway, and must keep doing.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, timedelta

SYSTEM_PROMPT = "You assist a small team. Answer with the requested text only, without explanation."

KINDS = ("file_name", "time_stamp", "metadata", "log_line", "length", "plain")
CONVENTIONS = KINDS[:-1]


@dataclass(frozen=True, slots=True)
class Task:
    """One question. `pattern` must match the whole reply (code fences and outer blanks aside)."""

    kind: str
    prompt: str
    answer: str
    pattern: str
    correction: str

    def passes(self, reply: str) -> bool:
        return re.fullmatch(self.pattern, strip_fence(reply)) is not None


def strip_fence(reply: str) -> str:
    """The reply without surrounding blanks, Markdown fence or single backticks: layout, not content."""
    text = reply.strip()
    fenced = re.fullmatch(r"```[a-z]*\n(.*?)\n?```", text, re.DOTALL)
    return (fenced.group(1) if fenced else text.strip("`")).strip()


@dataclass(frozen=True, slots=True)
class Pool:
    """The words that one side (practice or exam) may use; the two sides share none."""

    subjects: tuple[str, ...]
    people: tuple[str, ...]
    objects: tuple[str, ...]
    first_day: date
    phrasing: int
    plain: tuple[tuple[str, str], ...]

    def day(self, rng: random.Random) -> date:
        return self.first_day + timedelta(days=rng.randrange(110))


PRACTICE = Pool(
    subjects=(
        "budget review", "team meeting", "hiring plan", "server migration", "client call",
        "release checklist", "travel policy", "design workshop", "training course", "security audit",
        "invoice backlog", "product launch", "office move", "vendor contract", "data cleanup",
        "weekly report", "support rota", "press briefing", "risk register", "market study",
        "pilot project", "stock count", "salary round", "fire drill",
    ),
    people=("Ann", "Bob", "Carla", "David", "Elena", "Frank", "Grace", "Hugo"),
    objects=("desk", "pipe", "shelf", "cable", "fence", "door", "bench", "ladder"),
    first_day=date(2026, 1, 5),
    phrasing=0,
    plain=(
        ("What is 6 + 7? Reply with the number only.", r"13\.?"),
        ("What is 9 - 4? Reply with the number only.", r"5\.?"),
        ("Which day comes after Tuesday? Reply with one word.", r"(?i)wednesday\.?"),
        ("What is the capital of Italy? Reply with one word.", r"(?i)rome\.?"),
        ("What is the opposite of hot? Reply with one word.", r"(?i)cold\.?"),
        ("What colour is snow? Reply with one word.", r"(?i)white\.?"),
        ("Which month comes after June? Reply with one word.", r"(?i)july\.?"),
        ("How many legs has a dog? Reply with the number only.", r"(?i)4\.?|four\.?"),
        ("What is the plural of child? Reply with one word.", r"(?i)children\.?"),
        ("What is 3 times 4? Reply with the number only.", r"12\.?"),
        ("Which planet do we live on? Reply with one word.", r"(?i)earth\.?"),
        ("What is the first letter of the alphabet? One letter only.", r"(?i)a\.?"),
    ),
)

EXAM = Pool(
    subjects=(
        "kitchen refit", "sales forecast", "garden party", "network outage", "board session",
        "user survey", "tax filing", "library visit", "warehouse tour", "brand refresh",
        "bridge inspection", "summer school", "energy audit", "parking survey", "quality check",
        "customer interview", "holiday calendar", "payroll change", "printer lease", "water test",
    ),
    people=("Ivan", "Julia", "Karim", "Laura", "Marco", "Nadia"),
    objects=("wall", "rope", "table", "beam", "carpet", "window"),
    first_day=date(2026, 7, 6),
    phrasing=1,
    plain=(
        ("What is 8 + 5? Reply with the number only.", r"13\.?"),
        ("Which day comes after Friday? Reply with one word.", r"(?i)saturday\.?"),
        ("What is the capital of France? Reply with one word.", r"(?i)paris\.?"),
        ("What is the opposite of big? Reply with one word.", r"(?i)(small|little)\.?"),
        ("What colour is grass? Reply with one word.", r"(?i)green\.?"),
        ("Which month comes after March? Reply with one word.", r"(?i)april\.?"),
        ("How many wheels has a bicycle? Reply with the number only.", r"(?i)2\.?|two\.?"),
        ("What is the plural of mouse? Reply with one word.", r"(?i)mice\.?"),
        ("What is 5 times 5? Reply with the number only.", r"25\.?"),
        ("Which season comes after winter? Reply with one word.", r"(?i)spring\.?"),
        ("What is the capital of Spain? Reply with one word.", r"(?i)madrid\.?"),
        ("What is 20 - 8? Reply with the number only.", r"12\.?"),
    ),
)


def spoken(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def file_name(rng: random.Random, pool: Pool) -> Task:
    subject, day = rng.choice(pool.subjects), pool.day(rng)
    answer = f"{day:%Y%m%d}_{subject.replace(' ', '_')}.md"
    asked = (
        f"Suggest a file name for the Markdown notes of the {subject} on {spoken(day)}.",
        f"I want to save my notes about the {subject} ({spoken(day)}) as Markdown. What should the file name be?",
    )[pool.phrasing]
    correction = (
        "No, that is not how we name files. A file name starts with the date as YYYYMMDD, then an underscore, "
        f"then the subject in lower case with underscores, then .md. It should have been `{answer}`."
    )
    return Task("file_name", asked, answer, re.escape(answer), correction)


def time_stamp(rng: random.Random, pool: Pool) -> Task:
    subject, day = rng.choice(pool.subjects), pool.day(rng)
    hour, minute = rng.randrange(8, 19), rng.choice((0, 5, 10, 15, 20, 30, 40, 45, 50))
    answer = f"{day:%Y-%m-%d}T{hour:02}:{minute:02}:00+08:00"
    asked = (
        f"The {subject} started on {spoken(day)} at {hour:02}:{minute:02}. Write that moment as a time stamp.",
        f"Give me the time stamp for {hour:02}:{minute:02} on {spoken(day)}, when the {subject} ended.",
    )[pool.phrasing]
    correction = (
        "That's wrong for us. Our time stamps are ISO 8601 with a T between date and time, with seconds, and "
        f"always end in +08:00, the zone of our office. It should have been `{answer}`."
    )
    return Task("time_stamp", asked, answer, re.escape(answer), correction)


def metadata(rng: random.Random, pool: Pool) -> Task:
    subject, person = rng.choice(pool.subjects), rng.choice(pool.people)
    answer = f"---\ntitle: {subject}\nowner: {person.lower()}\nstatus: draft\n---"
    asked = (
        f"Write the metadata block for a new note by {person} about the {subject}.",
        f"{person} begins a note on the {subject}. What is its metadata block?",
    )[pool.phrasing]
    correction = (
        "No, our metadata block has exactly three fields between two lines of ---: title, then owner (the first "
        f"name in lower case), then status, which is draft for a new note. It should have been:\n```\n{answer}\n```"
    )
    return Task("metadata", asked, answer, re.escape(answer), correction)


def log_line(rng: random.Random, pool: Pool) -> Task:
    subject, number = rng.choice(pool.subjects), rng.randrange(10, 990)
    answer = f"[DONE] T-{number} | {subject}"
    asked = (
        f"Task {number}, the {subject}, is finished. Write the log line.",
        f"Please write the log line that says that we completed task {number} ({subject}).",
    )[pool.phrasing]
    correction = (
        "That is not our log format. A log line is [DONE], then T- and the task number, then a vertical bar, then "
        f"the subject in lower case, and nothing else. It should have been `{answer}`."
    )
    return Task("log_line", asked, answer, re.escape(answer), correction)


def length(rng: random.Random, pool: Pool) -> Task:
    thing, metres, tenth = rng.choice(pool.objects), rng.randrange(1, 10), rng.randrange(1, 10)
    answer = f"L={metres}{tenth}00mm"
    asked = (
        f"The {thing} is {metres}.{tenth} metres long. Write its length for the parts list.",
        f"How do I enter the length of a {thing} of {metres}.{tenth} metres in the parts list?",
    )[pool.phrasing]
    correction = (
        "Wrong: in the parts list we write lengths in whole millimetres, with L= before the number and mm right "
        f"after it, without any space. It should have been `{answer}`."
    )
    return Task("length", asked, answer, re.escape(answer), correction)


def plain(rng: random.Random, pool: Pool) -> Task:
    question, pattern = rng.choice(pool.plain)
    return Task("plain", question, "", pattern, "")


MAKERS: dict[str, Callable[[random.Random, Pool], Task]] = {
    "file_name": file_name,
    "time_stamp": time_stamp,
    "metadata": metadata,
    "log_line": log_line,
    "length": length,
    "plain": plain,
}


def tasks(pool: Pool, counts: dict[str, int], seed: int) -> list[Task]:
    """Distinct tasks of each kind, in the order of `KINDS` taken in turn.

    Raises `ValueError` when the pool holds fewer distinct tasks of a kind than asked for.
    """
    rng = random.Random(seed)
    columns = {kind: _distinct(MAKERS[kind], rng, pool, counts.get(kind, 0)) for kind in KINDS}
    longest = max(map(len, columns.values()), default=0)
    return [column[row] for row in range(longest) for column in columns.values() if row < len(column)]


def _distinct(make: Callable[[random.Random, Pool], Task], rng: random.Random, pool: Pool, count: int) -> list[Task]:
    found: dict[str, Task] = {}
    for _ in range(200 * count):
        if len(found) == count:
            break
        task = make(rng, pool)
        found.setdefault(task.prompt, task)
    if len(found) < count:
        raise ValueError(f"the pool holds only {len(found)} distinct {make.__name__} tasks, {count} were asked for")
    return list(found.values())
