"""What the pages read and act on, as the learner hands it to them; and what a page is given and gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from metaclaw.dashboard.access import Session
from metaclaw.library.catalog import Catalog
from metaclaw.scheduler.board import Board
from metaclaw.scheduler.windows import Rule, Span
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.jobs import Jobs
from metaclaw.training.registry import Registry
from metaclaw.types import Skill


@dataclass(frozen=True)
class Rooms:
    """Read from several threads at once.

    `roll_back_adapter` takes back the adapter on trial, or else the one that is wanted, and tells what serves all then,
    None for the base model; `promote_adapter` puts one that a verdict admits on trial, and says so. `gateway` asks the
    gateway how it is (`{}` where it does not say); `warnings` is the screen; `places` are the files that hold what was
    learned, by what a person calls them; `cannot_train` says why there is no slow loop, '' where there is one.
    """

    database: Database
    namespace: str
    catalog: Catalog
    registry: Registry
    routes: Routes
    jobs: Jobs
    board: Board
    rule: Rule
    now: Callable[[], datetime]
    meetings: Callable[[], Sequence[Span]]
    roll_back_adapter: Callable[[], str | None]
    promote_adapter: Callable[[str], str]
    gateway: Callable[[], Mapping[str, Any]]
    settled: Callable[[], bool]
    warnings: Callable[[Skill], Sequence[str]]
    places: Mapping[str, Path]
    cannot_train: str
    holdout_share: float


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for a page: what its path names, and its query or form."""

    named: Mapping[str, str]
    fields: Mapping[str, str]
    session: Session

    def number(self, name: str) -> int | None:
        """A whole number from the fields, where there is one that a version or a position can be."""
        text = self.fields.get(name, "")
        return int(text) if text.isascii() and text.isdecimal() and len(text) < 16 else None


@dataclass(frozen=True, slots=True)
class Page:
    """A template and what it is given. `template` '' stands for "nothing has changed"."""

    template: str
    given: Mapping[str, Any] = field(default_factory=dict)
    status: int = 200


@dataclass(frozen=True, slots=True)
class Done:
    """What an action did, in a sentence, and the page that shows it."""

    told: str
    path: str
