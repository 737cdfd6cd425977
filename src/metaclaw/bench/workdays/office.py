"""The persona, the sprint calendar, and the words that a year in one office is made of. All from a seed.

Nothing here says how the office writes anything down: `rules` knows, and the tests make sure of it.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from metaclaw.bench.workdays.facts import FIRST_NAMES, LAST_NAMES, Person, spoken

COMPANIES = ("Halden Works", "Brookline Systems", "Marrow and Pike", "Tessel Labs", "Quarry Lane", "Fennel Software")
PRODUCTS = ("a booking service", "a stock planner", "a payroll service", "a ticket shop", "a route planner")
ROLES = ("back end", "front end", "quality", "operations", "design", "support")
DOCUMENT_KINDS = (
    "incident report", "status report", "review note", "handover note", "budget sheet", "survey summary",
    "release record", "audit record", "planning note", "visit report",
)  # fmt: skip
SUBJECTS = (
    "payment outage", "login trouble", "server move", "mail delay", "price update", "search rebuild", "office network",
    "storage upgrade", "vendor change", "mobile launch", "data import", "partner portal", "backup drill",
    "customer survey", "heating repair", "license renewal", "trade fair", "warehouse tour", "invoice run",
    "holiday planning", "photo archive", "street map", "language pack", "test lab", "printer pool", "badge system",
    "training week", "spring campaign", "queue overflow", "cache failure", "parking lot", "fleet contract",
)  # fmt: skip
ITEMS = (
    "cedar", "quartz", "willow", "basalt", "saffron", "marble", "juniper", "cobalt", "tangerine", "obsidian", "linden",
    "hazelnut", "copper", "maple", "rosewood", "topaz", "granite", "mulberry",
)  # fmt: skip
LIST_NAMES = ("areas", "teams", "rooms", "depots")
PLANS = ("rollout", "offsite", "hiring", "migration", "cleanup", "training")
CHANGES = (
    ("Venue: ", ("north hall", "south hall", "garden room", "canteen")),
    ("Lead: ", ("the support desk", "the back end team", "the design team", "the night shift")),
    ("Scope: ", ("two customers", "all customers", "internal users", "one region")),
)  # fmt: skip
DAYS_OF_A_SPRINT = 10


@dataclass(frozen=True, slots=True)
class Office:
    company: str
    product: str
    lead: Person
    team: tuple[Person, ...]
    days: tuple[date, ...]
    first_sprint: int

    def sprint(self, number: int) -> int:
        """The sprint of workday `number`, which counts from 1."""
        return self.first_sprint + (number - 1) // DAYS_OF_A_SPRINT

    def greeting(self, number: int) -> str:
        """What opens each day's conversation: it states the date, as a person would."""
        today = self.days[number - 1]
        place = (number - 1) % DAYS_OF_A_SPRINT + 1
        return (
            f"Good morning. Today is {today:%A}, {spoken(today)}, day {place} of sprint {self.sprint(number)} at "
            f"{self.company}."
        )

    def files(self, number: int) -> dict[str, str]:
        """What lies in the workspace every day besides the day's inputs."""
        people = "\n".join(f"{person}, {role}" for person, role in zip(self.team, ROLES, strict=False))
        first, last = self._sprint_days(number)
        return {
            "README.txt": f"The desk of {self.lead}, who leads the team of {self.product} at {self.company}.\n"
            "What came in today lies in the folder inbox, the running plans in the folder plans.\n",
            "TEAM.txt": f"Lead: {self.lead}\n{people}\n",
            "CALENDAR.txt": f"Sprint {self.sprint(number)} runs from {spoken(first)} until {spoken(last)}.\n",
        }

    def _sprint_days(self, number: int) -> tuple[date, date]:
        start = (number - 1) // DAYS_OF_A_SPRINT * DAYS_OF_A_SPRINT
        ours: Sequence[date] = self.days[start : start + DAYS_OF_A_SPRINT]
        return ours[0], ours[-1]


def draw_office(seed: int, days: int) -> Office:
    rng = random.Random(f"office {seed}")
    monday = date(2026, 1, 5) + timedelta(weeks=rng.randrange(30))
    people = [Person(a, b) for a, b in zip(rng.sample(FIRST_NAMES, 7), rng.sample(LAST_NAMES, 7), strict=True)]
    workdays = [monday + timedelta(days=7 * (n // 5) + n % 5) for n in range(days)]
    return Office(
        rng.choice(COMPANIES), rng.choice(PRODUCTS), people[0], tuple(people[1:]), tuple(workdays), rng.randrange(3, 40)
    )
