"""The learner's process: the two loops, the watches beside them, and the dashboard, as the settings ask for them."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import TYPE_CHECKING

from metaclaw.carrying import Carrying
from metaclaw.config.settings import Settings
from metaclaw.errors import MetaClawError
from metaclaw.evolve.curate import Curator
from metaclaw.evolve.edited_code import retest
from metaclaw.evolve.loop import AT_ONCE, FastLoop
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.library.edits import Edits
from metaclaw.library.watch import Watch
from metaclaw.runtime.asking import Ask, AskAgain, judge_of, own_door
from metaclaw.runtime.canary import canary_watch
from metaclaw.runtime.engines import Embedded
from metaclaw.runtime.fast_loop import fast_loop
from metaclaw.runtime.home import Home
from metaclaw.runtime.library import carrying_of, edits_of
from metaclaw.runtime.schedule import agenda_of
from metaclaw.runtime.slow_loop import slow_loop
from metaclaw.runtime.trainable import NO_TORCH, cannot_train, has_extras
from metaclaw.sandbox import Sandbox
from metaclaw.scheduler.scheduler import Scheduler
from metaclaw.serving.watch import CanaryWatch
from metaclaw.store import Database
from metaclaw.tasks import Tasks
from metaclaw.types import Skill, Verdict
from metaclaw.upstream.client import UpstreamClient

if TYPE_CHECKING:
    from metaclaw.runtime.dashboard import Shown

log = logging.getLogger(__name__)

INTAKE_SECONDS = 0.5  # how long the learner sleeps when nobody wakes it


class Learner:
    """The learner's process: the fast loop, the watch over the library's folder, and where there is a model to train,
    the scheduler of the slow loop, the watch over an adapter on trial, and what keeps the skills in step with it.
    """

    def __init__(
        self, database: Database, client: UpstreamClient, watch: Watch, loop: FastLoop | None,
        curator: Curator | None, scheduler: Scheduler | None, sandbox: Sandbox, canary: CanaryWatch | None,
        carrying: Carrying | None, shown: Shown | None,
    ) -> None:
        self._database = database
        self._client = client
        self._watch = watch
        self._sandbox = sandbox
        self._loop = loop
        self._curator = curator
        self._scheduler = scheduler
        self._canary = canary
        self._carrying = carrying
        self._shown = shown
        self._new = asyncio.Event()
        self._tasks = Tasks()

    async def __aenter__(self) -> Learner:
        await self._watch.begin()
        self._tasks.start(self._watch.run())
        if self._loop:
            self._loop.resume()
            self._tasks.start(self._take_in(self._loop))
            self._tasks.start(self._loop.verify_pending())
        if self._curator:
            self._tasks.start(self._curator.run())
        if self._scheduler:
            self._tasks.start(self._scheduler.run())
        if self._canary:
            self._tasks.start(self._canary.run())
        if self._carrying:
            self._tasks.start(self._carrying.run())
        if self._shown:
            await self._shown.begin()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._shown:
            await self._shown.end()
        await self._tasks.end()
        await self._sandbox.close()
        await self._client.close()
        self._database.close()

    def heard(self, under_way: int) -> None:
        if self._scheduler:
            self._scheduler.heard(under_way)

    def wake(self) -> None:
        self._new.set()

    async def _take_in(self, loop: FastLoop) -> None:
        while True:
            try:
                while loop.intake() >= AT_ONCE:  # else what came meanwhile waits for more of its kind
                    pass
            except MetaClawError as error:
                log.error("evidence could not be taken in, trying again: %s", error)
            with contextlib.suppress(TimeoutError):  # not `wait_for`, which in 3.11 can swallow being cancelled
                async with asyncio.timeout(INTAKE_SECONDS):
                    await self._new.wait()
            self._new.clear()


def build_learner(settings: Settings, gateway_url: str, token: str, embedded: dict[str, str] | None) -> Learner:
    database = Database(Home(settings).store)
    catalog = Catalog(database, settings.namespace, Home(settings).skills)
    client = UpstreamClient(settings.upstream.connect_timeout_seconds, settings.upstream.idle_timeout_seconds)
    gateway = own_door(gateway_url, token)
    ask = Ask(client, gateway)
    key = settings.judge.api_key
    redactor = Redactor([token, *([key.get_secret_value()] if key else [])])
    sandbox = Sandbox(settings.sandbox)  # starts nothing before the first call
    model = Embedded(**embedded) if embedded else None
    loop = curator = scheduler = shown = None
    if settings.evolve.enabled:
        judge = judge_of(settings.judge, client, gateway)
        loop, curator = fast_loop(settings, database, catalog, ask, judge, redactor, sandbox)
    agenda = agenda_of(settings.schedule)
    if settings.training.enabled and model and has_extras(settings.training):
        again = AskAgain(client, gateway_url, token)
        scheduler = slow_loop(settings, model, database, catalog, client, ask, again, agenda)
    edits = edits_of(catalog, redactor)
    watch = _watch(catalog, edits, sandbox)
    if settings.dashboard.enabled:
        from metaclaw.runtime.dashboard import Shown, dashboard_of  # a learner that shows none loads nothing of it

        cannot = "" if scheduler else cannot_train(settings) or NO_TORCH
        pages = dashboard_of(settings, catalog, database, edits.warnings, agenda, cannot, gateway_url, token)
        shown = Shown(pages, settings)
    canary = canary_watch(settings, model, database) if model else None
    carrying = carrying_of(settings, database, catalog) if model else None
    return Learner(database, client, watch, loop, curator, scheduler, sandbox, canary, carrying, shown)


def _watch(catalog: Catalog, edits: Edits, sandbox: Sandbox) -> Watch:
    """The look at the library's folder; a code skill that somebody changed there is tested again."""

    async def prove(edited: Skill) -> Verdict | None:
        live = next((skill for skill in catalog.live() if skill.name == edited.name), None)
        return await retest(edited, live, sandbox.run)

    return Watch(catalog, edits, prove)
