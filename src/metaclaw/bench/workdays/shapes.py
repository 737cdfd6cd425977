"""House rules on documents: thirteen families, from the file's name to its last line.

Comes in: a random generator. Goes out: a `Shape`, which says the rule in a colleague's words, shows it on a document,
and tells whether a delivery keeps to it. `given` is what a writer needs who keeps to it (`writing`).
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from metaclaw.bench.workdays.documents import Delivery, Document, parsed

Holds = Callable[[Document, Delivery], bool]


@dataclass(frozen=True, slots=True)
class Shape:
    """One set of parameters of a family.

    `pieces` are texts that a right answer holds, in this order; `gone` says that a delivery has nothing of it at all.
    """

    key: str
    says: str
    given: Any
    show: Callable[[Document], str]
    holds: Holds
    pieces: Callable[[Document], list[str]]
    gone: Holds | None = None


NAMES: Mapping[str, Callable[[Document], str]] = {
    "YYYYMMDD_words": lambda d: f"{d.day:%Y%m%d}_{'_'.join(d.words)}",
    "words-YYYYMMDD": lambda d: f"{'-'.join(d.words)}-{d.day:%Y%m%d}",
    "WORDS.MMDD": lambda d: f"{'_'.join(d.words).upper()}.{d.day:%m%d}",
    "yymmdd--words": lambda d: f"{d.day:%y%m%d}--{'-'.join(d.words)}",
    "WordsWords_DDMMYY": lambda d: f"{''.join(w.capitalize() for w in d.words)}_{d.day:%d%m%y}",
    "words_Wweek": lambda d: f"{'_'.join(d.words)}_W{d.day:%V}",
}  # fmt: skip


def naming(rng: random.Random) -> Shape:
    key = rng.choice(list(NAMES))

    def name(document: Document) -> str:
        return f"{NAMES[key](document)}.{document.format}"

    says = f"New files are named {key} (today's date; the words are those of the subject, then those of the kind)."
    return Shape(key, says, name, name, lambda d, got: PurePosixPath(got.path).name == name(d), lambda d: [name(d)])


def folder(rng: random.Random) -> Shape:
    place = rng.choice(("outbox", "ready", "handover", "filed", "desk4"))
    weekly = rng.random() < 0.5

    def path(document: Document) -> str:
        return f"{place}/w{document.day:%V}" if weekly else place

    says = f"New files go into the folder {place}/" + ("w and the number of the calendar week." if weekly else ".")
    return Shape(
        f"{place}{weekly}", says, path, lambda d: path(d) + "/",
        lambda d, got: str(PurePosixPath(got.path).parent) == path(d), lambda d: [path(d) + "/"],
    )  # fmt: skip


def metadata(rng: random.Random) -> Shape:
    pairs = [
        (rng.choice(("origin", "desk", "source")), rng.choice(("north-office", "team-seven", "backroom"))),
        (rng.choice(("class", "circle")), rng.choice(("internal", "house-only", "tier2"))),
        (rng.choice(("stage", "check")), rng.choice(("draft0", "unread", "first-pass"))),
    ]
    rng.shuffle(pairs)

    def show(document: Document) -> str:
        if document.format == "json":
            return '"meta": ' + json.dumps(dict(pairs))
        if document.format == "csv":
            return "# " + " ".join(f"{key}={value}" for key, value in pairs)
        return "\n".join(("---", *(f"{key}: {value}" for key, value in pairs), "---"))

    def holds(document: Document, got: Delivery) -> bool:
        if document.format == "json":
            meta = (parsed(got.text) or {}).get("meta")
            return isinstance(meta, dict) and list(meta.items()) == pairs
        return got.text.lstrip().startswith(show(document))

    told = ", ".join(f"{key} {value}" for key, value in pairs)
    says = (
        f"Every new file carries a metadata block with exactly, and in this order: {told}. JSON: an object meta at the "
        "top level; Markdown: lines `key: value` between two lines of --- at the very top; CSV: a first line "
        "`# key=value key=value ...`."
    )
    return Shape(
        told, says, pairs, show, holds,
        lambda d: [show(d)] if d.format != "json" else [word for pair in pairs for word in pair],
        lambda _, got: not any(value in got.text for _, value in pairs),
    )  # fmt: skip


def backup(rng: random.Random) -> Shape:
    suffix = rng.choice((".bak", ".orig", "~before", ".old1", ".keep"))

    def path(document: Document) -> str:
        return (document.edit.path if document.edit else f"{document.title.replace(' ', '_')}.txt") + suffix

    def holds(document: Document, got: Delivery) -> bool:
        return document.edit is not None and got.after.get(path(document)) == got.before[document.edit.path]

    says = f"Before an existing file is changed, its old content is kept beside it, under its name with {suffix} added."
    return Shape(suffix, says, suffix, path, holds, lambda d: [path(d)], lambda d, got: path(d) not in got.after)


def worklog(rng: random.Random) -> Shape:
    file = rng.choice(("journal.log", "worklog.txt", "done.log", "ledger.txt"))
    lines: Mapping[str, Callable[[Document], str]] = {
        "[DONE] number | subject": lambda d: f"[DONE] {d.number} | {d.title}",
        "number;subject;closed": lambda d: f"{d.number};{d.title};closed",
        "+ subject (number)": lambda d: f"+ {d.title} ({d.number})",
        "number => subject": lambda d: f"{d.number} => {d.title}",
    }
    key = rng.choice(list(lines))

    def holds(document: Document, got: Delivery) -> bool:
        found = [line.strip() for line in got.after.get(file, "").splitlines() if line.strip()]
        return bool(found) and found[-1] == lines[key](document) and got.after.get(file) != got.before.get(file)

    says = f"A finished task is noted as a new last line in {file}, in this form: {key} (the task's number)."
    return Shape(
        f"{file} {key}", says, (file, lines[key]), lambda d: f"{file}: {lines[key](d)}", holds,
        lambda d: [file, lines[key](d)],
        lambda _, got: got.after.get(file) == got.before.get(file),
    )  # fmt: skip


def heading(rng: random.Random) -> Shape:
    heads: Mapping[str, Callable[[Document], str]] = {
        "# SUBJECT": lambda d: f"# {d.title.upper()}",
        "== Subject ==": lambda d: f"== {d.title.capitalize()} ==",
        "## Kind: subject": lambda d: f"## {d.kind.capitalize()}: {d.title}",
        "# [number] Subject": lambda d: f"# [{d.number}] {d.title.capitalize()}",
        "### subject, day/month": lambda d: f"### {d.title}, {d.day.day}/{d.day.month}",
    }
    key = rng.choice(list(heads))
    return _line(key, f"A Markdown document's heading has the form: {key}.", heads[key])


def order(rng: random.Random) -> Shape:
    orders: Mapping[str, Callable[[tuple[str, int]], Any]] = {
        "from A to Z": lambda item: item[0],
        "from the largest number to the smallest": lambda item: -item[1],
        "from the smallest number to the largest": lambda item: item[1],
        "by the last letter of the name": lambda item: item[0][-1],
        "from the longest name to the shortest": lambda item: -len(item[0]),
    }
    key = rng.choice(list(orders))

    def names(document: Document) -> list[str]:
        return [name for name, _ in sorted(document.items, key=orders[key])]

    def holds(document: Document, got: Delivery) -> bool:
        places = [got.text.lower().rfind(name) for name in names(document)]
        return -1 not in places and places == sorted(places)

    says = f"Lists are ordered {key}."
    return Shape(key, says, orders[key], lambda d: ", ".join(names(d)), holds, names)


def labels(rng: random.Random) -> Shape:
    languages = {
        "German": ("Angaben", "Posten"), "Spanish": ("Datos", "Partidas"), "Italian": ("Fatti", "Voci"),
        "Dutch": ("Gegevens", "Lijst"), "Portuguese": ("Dados", "Itens"),
    }  # fmt: skip
    language = rng.choice(list(languages))
    facts, items = languages[language]

    def holds(_: Document, got: Delivery) -> bool:
        found = {line.strip("#=*_: ") for line in got.lines}
        return {facts, items} <= found

    says = f"Section titles in Markdown are {language}: {facts} for the facts, {items} for the list."
    return Shape(language, says, (facts, items), lambda _: f"{facts} / {items}", holds, lambda _: [facts, items])


def keycase(rng: random.Random) -> Shape:
    cases: Mapping[str, Callable[[str], str]] = {
        "camelCase": _camel,
        "UPPER_SNAKE": lambda name: re.sub(r"\W", "_", name).upper(),
        "kebab-case": lambda name: re.sub(r"\W", "-", name),
        "Train-Case": lambda name: "-".join(word.capitalize() for word in re.split(r"\W", name)),
        "dot.case": lambda name: re.sub(r"\W", ".", name),
    }
    key = rng.choice(list(cases))

    def keys(document: Document) -> list[str]:
        return [cases[key](field.name) for field in document.fields]

    def holds(document: Document, got: Delivery) -> bool:
        return set(keys(document)) <= set(parsed(got.text) or {})

    says = f"Keys in JSON files are written in {key}, such as {cases[key]('first example')}."
    return Shape(key, says, cases[key], lambda d: ", ".join(keys(d)), holds, keys)


def listmark(rng: random.Random) -> Shape:
    mark = rng.choice(("+", "=>", "o)", "~", ">>"))

    def first(document: Document) -> str:
        return f"{mark} {document.items[0][0]}"

    def holds(document: Document, got: Delivery) -> bool:
        lines = [line.strip() for line in got.lines if any(name in line.lower() for name, _ in document.items)]
        return bool(lines) and all(line.startswith(f"{mark} ") for line in lines)

    says = f"Each entry of a list in Markdown is a line of its own that begins with {mark} and a blank."
    return Shape(mark, says, mark, first, holds, lambda d: [f"{mark} {name}" for name, _ in d.items[:1]])


def delimiter(rng: random.Random) -> Shape:
    mark = rng.choice((";", "|", "~", "^"))

    def rows(document: Document) -> list[str]:
        return [f"{name}{mark}{number}" for name, number in document.items]

    def holds(document: Document, got: Delivery) -> bool:
        return set(rows(document)) <= {line.replace(f" {mark} ", mark).lower() for line in got.lines}

    says = f"In CSV files the columns are separated by {mark} and nothing else."
    return Shape(mark, says, mark, lambda d: rows(d)[0], holds, rows)


def indent(rng: random.Random) -> Shape:
    blanks = rng.choice((1, 3, 5, 6, 7))

    def holds(_: Document, got: Delivery) -> bool:
        inner = [line for line in got.lines if line.startswith(" ")]
        return bool(inner) and len(inner[0]) - len(inner[0].lstrip(" ")) == blanks

    says = f"JSON files are indented by {blanks} blank{'s' if blanks > 1 else ''} a level."
    return Shape(
        str(blanks), says, blanks, lambda _: "{\n" + " " * blanks + '"', holds, lambda _: ["{\n" + " " * blanks + '"']
    )


def footer(rng: random.Random) -> Shape:
    ends: Mapping[str, Callable[[Document], str]] = {
        "-- end of kind --": lambda d: f"-- end of {d.kind} --",
        "(subject, closed)": lambda d: f"({d.title}, closed)",
        "EOF/number": lambda d: f"EOF/{d.number}",
        "nothing follows.": lambda _: "nothing follows.",
    }
    key = rng.choice(list(ends))
    shape = _line(key, f"The last line of a Markdown document is: {key}.", ends[key])
    return Shape(
        key, shape.says, ends[key], ends[key], lambda d, got: got.lines[-1:] == [ends[key](d)], shape.pieces,
        lambda d, got: got.lines[-1:] != [ends[key](d)],
    )  # fmt: skip


# By family: the formats that it applies to (`edit` is a change of an existing file), and how its parameters are drawn.
SHAPE_FAMILIES: Mapping[str, tuple[frozenset[str], Callable[[random.Random], Shape]]] = {
    "naming": (frozenset({"json", "md", "csv"}), naming), "folder": (frozenset({"json", "md", "csv"}), folder),
    "metadata": (frozenset({"json", "md", "csv"}), metadata), "backup": (frozenset({"edit"}), backup),
    "worklog": (frozenset({"json", "md", "csv", "edit"}), worklog), "heading": (frozenset({"md"}), heading),
    "order": (frozenset({"json", "md", "csv"}), order), "labels": (frozenset({"md"}), labels),
    "keycase": (frozenset({"json"}), keycase), "listmark": (frozenset({"md"}), listmark),
    "delimiter": (frozenset({"csv"}), delimiter), "indent": (frozenset({"json"}), indent),
    "footer": (frozenset({"md"}), footer),
}  # fmt: skip


def _line(key: str, says: str, line: Callable[[Document], str]) -> Shape:
    return Shape(key, says, line, line, lambda d, got: line(d) in got.lines, lambda d: [line(d)])


def _camel(name: str) -> str:
    first, *rest = re.split(r"\W", name)
    return first + "".join(word.capitalize() for word in rest)
