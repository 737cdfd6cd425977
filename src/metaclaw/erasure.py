"""Forgetting a session, in every room that keeps something of it: what would go (`Forgetting.shows`), and that it goes.

The order makes an interruption harmless: what came from the session goes out of use first, then its texts leave the
files, then the journal; run again, it finishes. It reaches what is stored; a learner that is just thinking about the
session, and a client that sends its conversation again, can bring text back, so the same command may be run twice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from metaclaw.config.settings import Settings
from metaclaw.evolve import exposures, rejected
from metaclaw.evolve.progress import settled
from metaclaw.journal import erasing as journal
from metaclaw.library import erasing as library
from metaclaw.library.catalog import Catalog
from metaclaw.runtime.home import Home
from metaclaw.serving.promotion import roll_back_stale
from metaclaw.serving.routes import Routes
from metaclaw.signals import ledger
from metaclaw.store import Connection, Database, verdicts
from metaclaw.store.scrub import overwriting, scrub
from metaclaw.training.jobs import JobRow, Jobs
from metaclaw.training.registry import Registry
from metaclaw.types import LIVE_STATES, Adapter, Skill


@dataclass(frozen=True, slots=True)
class Consequences:
    """What forgetting the session means. `serving` is the adapter that serves, where it came from the session."""

    trace: journal.Trace
    skills: tuple[Skill, ...]
    adapters: tuple[Adapter, ...]
    jobs: tuple[JobRow, ...]
    serving: str | None
    learning: bool
    store_bytes: int

    @property
    def live_skills(self) -> tuple[Skill, ...]:
        return tuple(skill for skill in self.skills if skill.state in LIVE_STATES)


class Forgetting:
    """Of one namespace. `derived`: the words of the skills and the weights of the adapters that came from it go too."""

    def __init__(self, settings: Settings, database: Database) -> None:
        home = Home(settings)
        self._database, self._namespace = database, settings.namespace
        self._catalog = Catalog(database, settings.namespace, home.skills)
        self._registry = Registry(database, settings.namespace, home.adapters)
        self._routes = Routes(database, settings.namespace)
        self._jobs = Jobs(database, settings.namespace, home.jobs)
        self._indexes = home.indexes
        self._policy = settings.training.erased_data

    def shows(self, session: str) -> Consequences:
        """Raises `RequestError` where there is no such session."""
        trace = journal.found(self._database, self._namespace, session)
        skills = library.dependents(self._database, self._catalog, trace.all_turns, trace.source)
        refs = {skill.ref for skill in skills}
        adapters = self._registry.dependents(trace.all_turns, refs, trace.source)
        wanted = self._routes.state().wanted
        hit = wanted if wanted in {adapter.name for adapter in adapters} else None
        return Consequences(
            trace, tuple(skills), tuple(adapters), tuple(self._jobs.that_took_in(trace.all_turns, refs)), hit,
            learning=not settled(self._database, self._namespace), store_bytes=self._database.path.stat().st_size,
        )

    def forget(self, session: str, *, derived: bool = False) -> Consequences:
        """Do it. Returns what was there. Raises `StoreError` where the store is too busy to be cleaned: do it again."""
        gone = self.shows(session)
        self._registry.mark_stale(gone.adapters, library.WHY, gone.trace.source)
        if self._policy == "rollback" or derived:
            roll_back_stale(self._routes, self._registry, [adapter.name for adapter in gone.adapters])
        waits = library.set_aside(self._catalog, gone.skills, ask_again=not derived)
        for job in gone.jobs:
            self._jobs.forget(job)
            _forget_session(job.folder / "manifest.jsonl", session)
        self._registry.forget_sessions(gone.trace.all_turns)
        if gone.skills:
            for index in self._indexes.glob("*") if self._indexes.is_dir() else ():
                index.unlink()  # a cache: it is made anew
        if derived:
            for adapter in gone.adapters:
                self._registry.erase_weights(adapter)
        judged = self._registry.judged_by(gone.trace.all_turns, {skill.ref for skill in gone.skills})
        self._database.write(lambda connection: self._erase(connection, gone, waits, judged, derived=derived))
        scrub(self._database.path)
        return gone

    def _erase(
        self, connection: Connection, gone: Consequences, waits: Sequence[Skill], judged: Sequence[str], *,
        derived: bool,
    ) -> None:
        overwriting(connection)
        turns = gone.trace.all_turns
        library.forget_support(connection, self._namespace, turns, [*gone.skills, *waits], gone.trace.source)
        if derived:
            library.erase(connection, self._namespace, gone.skills)
            journal.forget_injected(connection, self._namespace, [skill.ref for skill in gone.skills])
        subjects = {f"skill:{skill.ref}" for skill in gone.skills}
        subjects |= {f"adapter:{adapter.name}" for adapter in gone.adapters}
        subjects |= {f"adapter:{name}" for name in judged}
        verdicts.erase_text(connection, self._namespace, subjects, gone.trace.quotes)
        rejected.erase(connection, self._namespace, turns, gone.trace.quotes)
        exposures.erase(connection, self._namespace, gone.trace.session, turns)
        ledger.erase(connection, turns)
        journal.erase(connection, self._namespace, gone.trace)


def _forget_session(manifest: Path, session: str) -> None:
    """The name of a session may be anything that a client says."""
    rows = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    kept = [{**row, "session": ""} if row.get("session") == session else row for row in rows]
    manifest.write_text("\n".join(map(json.dumps, kept)), encoding="utf-8")
