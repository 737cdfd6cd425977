"""The slow loop, from proven turns to weights: the training job with its judging, and the scheduler that runs it."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from metaclaw.config.settings import Settings
from metaclaw.evolve.progress import settled
from metaclaw.library.catalog import Catalog
from metaclaw.runtime.asking import Ask, AskAgain
from metaclaw.runtime.engines import Embedded, engine_spec
from metaclaw.runtime.home import Home
from metaclaw.runtime.schedule import machine_of, rule_of, utc_now
from metaclaw.scheduler.agenda import Agenda
from metaclaw.scheduler.board import Board
from metaclaw.scheduler.scheduler import Scheduler
from metaclaw.serving.arena import open_arena
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.comparison import Arena
from metaclaw.training.job import TrainingJob
from metaclaw.training.jobs import Jobs
from metaclaw.training.judging import Judging
from metaclaw.training.registry import Registry
from metaclaw.training.selection import Evidence
from metaclaw.upstream.client import UpstreamClient


def slow_loop(
    settings: Settings, embedded: Embedded, database: Database, catalog: Catalog, client: UpstreamClient, ask: Ask,
    ask_again: AskAgain, agenda: Agenda | None,
) -> Scheduler:
    job = _training_job(settings, embedded, database, catalog, client, ask, ask_again)
    board = Board(database, settings.namespace)
    return Scheduler(job, utc_now, rule_of(settings.schedule), machine_of(settings.schedule, agenda), board)


def _training_job(
    settings: Settings, embedded: Embedded, database: Database, catalog: Catalog, client: UpstreamClient, ask: Ask,
    ask_again: AskAgain,
) -> TrainingJob:
    home = Home(settings)
    return TrainingJob(
        database=database,
        namespace=settings.namespace,
        settings=settings.training,
        base_model=embedded.name,
        base_gguf=embedded.path,
        prepared_dir=home.prepared,
        jobs=Jobs(database, settings.namespace, home.jobs),
        ask=ask,
        evidence=lambda: Evidence(catalog.generation(), settled(database, settings.namespace)),
        judging=_judging(settings, embedded, database, client),
        judge=settings.judge,
        ask_again=ask_again,
    )


def _judging(settings: Settings, embedded: Embedded, database: Database, client: UpstreamClient) -> Judging:
    """The gate: a candidate against what serves, in an arena of their own."""
    registry = Registry(database, settings.namespace, Home(settings).adapters)
    routes = Routes(database, settings.namespace)
    promotions = Promotions(routes, registry, settings.serving.canary_share)

    def incumbent() -> str | None:
        """What serves; an adapter of another base model does not."""
        wanted = routes.state().wanted
        return wanted if wanted and registry.get(wanted).base_model == embedded.name else None

    def arena(candidate: Path, incumbent: str | None) -> AbstractAsyncContextManager[Arena]:
        loras = [candidate, *([registry.checked_gguf(incumbent)] if incumbent else [])]
        spec = engine_spec(settings, embedded, "arena", loras, apply=False)
        return open_arena(spec, client, settings.model.start_timeout_seconds)

    return Judging(
        registry, embedded.name, incumbent, arena, promotions.offer, busy=lambda: routes.state().canary is not None
    )
