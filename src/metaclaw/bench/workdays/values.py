"""House rules on values: fifteen families, each with parameters drawn from a seed and one way to write a fact.

Comes in: a random generator. Goes out: a `Form`, which says the rule in a colleague's words and writes any fact of its
kind. Forms of a family with different `key` have different parameters; now and then they write a fact alike (rounding).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any

from metaclaw.bench.workdays.facts import Person


@dataclass(frozen=True, slots=True)
class Form:
    """One set of parameters of a family: `key` names it, `says` tells it, `show` writes a fact by it."""

    key: str
    says: str
    show: Callable[[Any], str]


STAMPS = (
    ("%Y-%m-%dT%H:%M:%S", "YYYY-MM-DDTHH:MM:SS"), ("%Y%m%dT%H%M", "YYYYMMDDTHHMM"),
    ("%d.%m.%Y/%H:%M", "DD.MM.YYYY/HH:MM"), ("%Y/%m/%d-%H.%M", "YYYY/MM/DD-HH.MM"), ("%H%M@%d%m%y", "HHMM@DDMMYY"),
)  # fmt: skip
ZONES = ("+08:00", "-03:00", "+05:30", "+02:00", "-07:00")
CLOCKS = (("EAT", 3), ("SGT", 8), ("BRT", -3), ("PKT", 5), ("MSK", 3), ("CST", -6))
MONTHS = ("I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX", "X", "XI", "XII")


def stamp(rng: random.Random) -> Form:
    (layout, told), zone = rng.choice(STAMPS), rng.choice(ZONES)

    def show(at: datetime) -> str:
        return at.strftime(layout) + zone

    says = f"Points in time are written as {told}, with our office's offset {zone} right behind, without a blank."
    return Form(f"{told}{zone}", says, show)


def zone(rng: random.Random) -> Form:
    (name, hours), mark = rng.choice(CLOCKS), rng.choice((":", "h", "."))

    def show(minutes: int) -> str:
        local = (minutes + hours * 60) % 1440
        return f"{local // 60:02}{mark}{local % 60:02} {name}"

    sign = "ahead of" if hours > 0 else "behind"
    says = (
        f"Server, release and cutover times are given in {name}, which is {abs(hours)} hours {sign} universal time, "
        f"as HH{mark}MM {name}."
    )
    return Form(f"{name}{mark}", says, show)


def slot(rng: random.Random) -> Form:
    writes: Mapping[str, Callable[[int, int], str]] = {
        "HHMM-HHMM": lambda a, b: f"{_hm(a, '')}-{_hm(b, '')}",
        "HHhMM/HHhMM": lambda a, b: f"{_hm(a, 'h')}/{_hm(b, 'h')}",
        "HH:MM+minutes": lambda a, b: f"{_hm(a, ':')}+{b - a}",
        "[HH.MM..HH.MM]": lambda a, b: f"[{_hm(a, '.')}..{_hm(b, '.')}]",
        "minutes@HH:MM": lambda a, b: f"{b - a}@{_hm(a, ':')}",
    }
    key = rng.choice(list(writes))
    return Form(key, f"Slots are written as {key}, in 24-hour time.", lambda span: writes[key](*span))


def day(rng: random.Random) -> Form:
    writes: Mapping[str, Callable[[date], str]] = {
        "D.ROMAN.YYYY": lambda d: f"{d.day}.{MONTHS[d.month - 1]}.{d.year}",
        "YYYY-Wweek-weekday": lambda d: f"{d:%G-W%V-%u}",
        "YYYY/day-of-year": lambda d: f"{d:%Y/%j}",
        "DD-MM-YY": lambda d: f"{d:%d-%m-%y}",
        "YYYY.MM.DD": lambda d: f"{d:%Y.%m.%d}",
    }
    key = rng.choice(list(writes))
    return Form(key, f"Days without a time (due, review, delivery) are written as {key}.", writes[key])


def money(rng: random.Random) -> Form:
    writes: Mapping[str, tuple[str, Callable[[int], str]]] = {
        "cents": ("in whole cents with ct behind, no blank, such as 1999ct", lambda c: f"{c}ct"),
        "EUR first": ("as EUR, a blank and the amount with a point, such as EUR 19.99", lambda c: f"EUR {c / 100:.2f}"),
        "euro last": ("with a decimal comma, a blank and the euro sign, such as 19,99 €", lambda c: f"{_comma(c)} €"),
        "E between": ("with an E in place of the decimal point, such as 19E99", lambda c: f"{c // 100}E{c % 100:02}"),
        "bracket": ("with a point and the currency in brackets, such as 19.99(EUR)", lambda c: f"{c / 100:.2f}(EUR)"),
    }
    key = rng.choice(list(writes))
    return Form(key, f"Amounts of money are written {writes[key][0]}.", writes[key][1])


def duration(rng: random.Random) -> Form:
    writes: Mapping[str, tuple[str, Callable[[int], str]]] = {
        "min": ("in whole minutes with min right behind, such as 95min", lambda m: f"{m}min"),
        "h": ("in decimal hours with two places and h, such as 1.50h", lambda m: f"{m / 60:.2f}h"),
        "PT": ("as ISO durations, such as PT1H30M", lambda m: f"PT{m // 60}H{m % 60}M"),
        "quarters": ("in quarter hours, with q in front, such as q6", lambda m: f"q{m // 15}"),
        "clock": ("as H'MM, with an apostrophe, such as 1'30", lambda m: f"{m // 60}'{m % 60:02}"),
    }
    key = rng.choice(list(writes))
    return Form(key, f"Durations (time spent, downtime, estimate) are written {writes[key][0]}.", writes[key][1])


def share(rng: random.Random) -> Form:
    places = rng.choice((0, 1))
    how, rounding = rng.choice((("up", ROUND_CEILING), ("down", ROUND_FLOOR), ("to the nearest", ROUND_HALF_UP)))
    sign = rng.choice(("%", " pct", " p.c."))

    def show(thousandths: int) -> str:
        step = Decimal(1).scaleb(-places)
        return f"{(Decimal(thousandths) / 1000).quantize(step, rounding)}{sign}"

    digits = "no decimals" if places == 0 else "one decimal"
    says = f"Shares (coverage, error share, uptime) are rounded {how} to {digits}, with '{sign}' behind."
    return Form(f"{places}{how}{sign}", says, show)


def count(rng: random.Random) -> Form:
    mark = rng.choice(("'", "_", " ", ".", "k"))
    told = {"k": "with a k where the thousands end"}.get(mark, f"with '{mark}' between the thousands")

    def show(number: int) -> str:
        return f"{number // 1000}{mark}{number % 1000:03}"

    return Form(mark, f"Large counts (records, requests, visitors) are written {told}, such as {show(54_321)}.", show)


def person(rng: random.Random) -> Form:
    writes: Mapping[str, Callable[[Person], str]] = {
        "LAST, First": lambda p: f"{p.last.upper()}, {p.first}",
        "@first.last": lambda p: f"@{p.first}.{p.last}".lower(),
        "F. Last": lambda p: f"{p.first[0]}. {p.last}",
        "last_f": lambda p: f"{p.last}_{p.first[0]}".lower(),
        "First-L": lambda p: f"{p.first}-{p.last[0]}",
    }
    key = rng.choice(list(writes))
    return Form(key, f"People (owner, reviewer, contact) are written as {key}.", writes[key])


def status(rng: random.Random) -> Form:
    return _words(
        rng, ("not begun", "under way", "finished"), "States are written",
        (("parked", "rolling", "landed"), ("S0", "S5", "S9"), ("rot", "gelb", "gruen"), ("todo", "doing", "shipped"),
         ("seed", "sprout", "fruit")),
    )  # fmt: skip


def priority(rng: random.Random) -> Form:
    return _words(
        rng, ("low", "normal", "high"), "Urgency and weight are written",
        (("P3", "P2", "P1"), ("lamp-green", "lamp-amber", "lamp-red"), ("can-wait", "this-week", "by-tonight"),
         ("*", "**", "***"), ("tier-c", "tier-b", "tier-a")),
    )  # fmt: skip


def ticket(rng: random.Random) -> Form:
    writes: Mapping[str, Callable[[int], str]] = {
        f"{name}{mark}": lambda number, name=name, mark=mark: f"{name}{mark}{number:05}"  # type: ignore[misc]
        for name in ("WD", "OPS", "TK")
        for mark in ("-", "/", "#")
    }
    key = rng.choice(list(writes))
    says = f"Ticket numbers are written with {key} in front and five digits, such as {writes[key](87)}."
    return Form(key, says, writes[key])


def flag(rng: random.Random) -> Form:
    yes, no = rng.choice((("ja", "nein"), ("[x]", "[ ]"), ("TRUE", "FALSE"), ("+1", "-1"), ("ok", "ko")))
    says = f"What is so is written as {yes}, and what is not so as {no} (approved, informed, tested)."
    return Form(yes, says, lambda value: yes if value else no)


def missing(rng: random.Random) -> Form:
    word = rng.choice(("--", "n/k", "(open)", "?", "TBC"))
    return Form(word, f"What nobody knows (phone, room, second contact) is written as {word}, never left out.",
                lambda _: word)  # fmt: skip


def length(rng: random.Random) -> Form:
    unit, factor = rng.choice((("m", 1), ("dm", 10), ("cm", 100), ("mm", 1000)))
    mark = rng.choice(("", " "))
    gap = "without a blank" if mark == "" else "with a blank between"
    says = f"Lengths (cable run, fence, track) are converted to {unit} and written as a whole number and {unit}, {gap}."
    return Form(f"{unit}{mark}", says, lambda metres: f"{metres * factor}{mark}{unit}")


# By family: the kind of fact that it rules, and how its parameters are drawn.
VALUE_FAMILIES: Mapping[str, tuple[str, Callable[[random.Random], Form]]] = {
    "stamp": ("moment", stamp), "zone": ("utc", zone), "slot": ("slot", slot), "day": ("day", day),
    "money": ("money", money), "duration": ("duration", duration), "rounding": ("share", share),
    "grouping": ("count", count), "person": ("person", person), "status": ("status", status),
    "priority": ("priority", priority), "ticket": ("ticket", ticket), "flag": ("flag", flag),
    "missing": ("missing", missing), "units": ("length", length),
}  # fmt: skip


def _hm(minutes: int, mark: str) -> str:
    return f"{minutes // 60:02}{mark}{minutes % 60:02}"


def _comma(cents: int) -> str:
    return f"{cents / 100:.2f}".replace(".", ",")


def _words(rng: random.Random, plain: Sequence[str], begin: str, sets: Sequence[Sequence[str]]) -> Form:
    chosen = rng.choice(list(sets))
    pairs = dict(zip(plain, chosen, strict=True))
    told = ", ".join(f"{house} for {word}" for word, house in pairs.items())
    return Form(chosen[0], f"{begin} in our own words: {told}.", lambda word: pairs[word])
