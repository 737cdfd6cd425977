"""Builds everything, and alone knows all rooms. `Gateway` and `Learner` are the wholes of the two processes.

Both are asynchronous context managers that own their tasks: what they start, they end.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from metaclaw import __version__
from metaclaw.carrying import Carrying
from metaclaw.config.fast_loop import JudgeSettings
from metaclaw.config.secret import ensure_token, known_secrets
from metaclaw.config.settings import Settings
from metaclaw.config.slow_loop import ScheduleSettings, TrainingSettings
from metaclaw.context.embed import StaticEmbedder
from metaclaw.context.live import LiveContext
from metaclaw.dialects import chat
from metaclaw.errors import ConnectError, MetaClawError, StoreError, TrainingError
from metaclaw.evolve.code import CodeLearner
from metaclaw.evolve.curate import Curator
from metaclaw.evolve.edited_code import retest
from metaclaw.evolve.loop import AT_ONCE, FastLoop, Judge
from metaclaw.evolve.progress import settled
from metaclaw.evolve.screen import objections
from metaclaw.gateway.app import App
from metaclaw.gateway.auth import Door
from metaclaw.gateway.closing import CloseHandler
from metaclaw.gateway.feedback import FeedbackHandler
from metaclaw.gateway.intake import Intake
from metaclaw.gateway.kept_responses import KeptResponses
from metaclaw.gateway.models import ModelsHandler
from metaclaw.gateway.sidecalls import SIDE_HEADER
from metaclaw.gateway.tokens import TokenCounter
from metaclaw.gateway.toolbox import Toolbox
from metaclaw.gateway.traced import TracedTurns
from metaclaw.gateway.turn import SKILLS_HEADER, Activity, TurnHandler
from metaclaw.journal.open_sessions import OpenSessions
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.library.edits import Edits
from metaclaw.library.watch import Watch
from metaclaw.link import LearnerLink
from metaclaw.running import DASHBOARDS, Presence, Running
from metaclaw.sandbox import Sandbox
from metaclaw.scheduler.agenda import Agenda
from metaclaw.scheduler.board import Board
from metaclaw.scheduler.power import Load, on_battery
from metaclaw.scheduler.presence import presence_here
from metaclaw.scheduler.scheduler import Scheduler
from metaclaw.scheduler.senses import Machine
from metaclaw.scheduler.windows import Rule, SleepHours
from metaclaw.serving.arena import open_arena
from metaclaw.serving.engine import EngineSpec
from metaclaw.serving.engines import Engines
from metaclaw.serving.host import EngineHost
from metaclaw.serving.local import LocalEngines
from metaclaw.serving.memory import MIB, Memory
from metaclaw.serving.promotion import Promotions, admitted
from metaclaw.serving.receipts import Receipts
from metaclaw.serving.routes import Routes
from metaclaw.serving.trial import Bar
from metaclaw.serving.vllm import VllmEngines
from metaclaw.serving.watch import CanaryWatch
from metaclaw.signals.judge import judge
from metaclaw.store import Database
from metaclaw.tasks import Tasks
from metaclaw.telemetry.export import Spans
from metaclaw.training.comparison import Arena
from metaclaw.training.job import TrainingJob
from metaclaw.training.jobs import Jobs
from metaclaw.training.judging import Judging
from metaclaw.training.registry import Registry
from metaclaw.training.selection import Evidence
from metaclaw.types import Skill, Verdict
from metaclaw.upstream import providers
from metaclaw.upstream.client import UpstreamClient, reply_text
from metaclaw.upstream.embeddings import EmbeddingsEndpoint
from metaclaw.upstream.route import Route, Router
from metaclaw.wire.server import Limits, Server

if TYPE_CHECKING:
    from metaclaw.dashboard.server import Dashboard

log = logging.getLogger(__name__)

CONNECTIONS_PER_REQUEST = 8  # clients keep some open between requests
SHUTDOWN_SECONDS = 10.0  # for replies that are under way
INTAKE_SECONDS = 0.5  # how long the learner sleeps when nobody wakes it


class Embedded:
    """The embedded model's name and file, as one process tells the other."""

    def __init__(self, name: str, path: str) -> None:
        self.name = name
        self.path = Path(path)

    def as_dict(self) -> dict[str, str]:
        return {"name": self.name, "path": str(self.path)}


class Home:
    """The places below the data folder that belong to a namespace."""

    def __init__(self, settings: Settings) -> None:
        self.store = settings.home / "metaclaw.db"
        self.skills = settings.home / "skills" / settings.namespace
        self.adapters = settings.home / "adapters" / settings.namespace
        self.jobs = settings.home / "jobs" / settings.namespace
        self.indexes = settings.home / "indexes" / settings.namespace
        self.logs = settings.home / "logs"
        self.prepared = settings.weights_dir / "trainable"


class Gateway:
    """The gateway's process: the HTTP door, the engine host, and the learner on a line. `url` is where it listens."""

    def __init__(
        self, settings: Settings, embedded: Embedded | None, on_indexed: Callable[[], None] = lambda: None
    ) -> None:
        self._settings = settings
        self._embedded = embedded
        self.token = ensure_token(settings)
        self.url = ""
        home = Home(settings)
        self._database = Database(home.store)
        self._catalog = Catalog(self._database, settings.namespace, home.skills)
        self._registry = Registry(self._database, settings.namespace, home.adapters)
        self._routes = Routes(self._database, settings.namespace)
        self._jobs = Jobs(self._database, settings.namespace, home.jobs)
        self._client = UpstreamClient(
            settings.upstream.connect_timeout_seconds, settings.upstream.idle_timeout_seconds, self.token
        )
        self._context = LiveContext(
            self._catalog, settings.context, StaticEmbedder, _model_tokens(settings), home.indexes,
            _embeddings(settings, self._client), on_indexed,
            settings.evolve.holdout_share if settings.evolve.enabled else 0.0,
        )
        self._router = providers.configured(settings) or Router()
        self._host = self._engine_host(embedded) if embedded else None
        self._link: LearnerLink | None = None
        redactor = Redactor(known_secrets(settings))
        self._spans = _spans(settings, redactor, embedded=embedded is not None)
        self._recorder = Recorder(
            self._database, redactor, settings.gateway.durable_timeout_seconds, self._recorded,
            self._spans.keep if self._spans else None,
        )
        self._sessions = OpenSessions(self._database, settings.namespace, settings.gateway.session_idle_seconds)
        self._sandbox = Sandbox(settings.sandbox)
        self._toolbox = Toolbox(self._sandbox)
        self._turns = TurnHandler(
            settings.namespace, self._context, self._router, self._client, self._recorder, self._sessions,
            Activity(self._activity), self._toolbox,
        )
        self._intake = Intake(settings.gateway)
        self._server: Server | None = None
        self._presence: Presence | None = None
        self._started_at = time.time()
        self._tasks = Tasks()

    async def __aenter__(self) -> Gateway:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

    async def _start(self) -> None:
        await self._listen()
        self._announce()
        if self._host:
            self._tasks.start(self._host.run())
        if self._settings.evolve.enabled or self._settings.training.enabled:
            self._link = LearnerLink(
                {
                    "settings": _shareable(self._settings),
                    "gateway_url": self.url,
                    "token": self.token,
                    "embedded": self._embedded.as_dict() if self._embedded else None,
                }
            )
            self._tasks.start(self._link.run())
        self._tasks.start(self._context.run())

    async def __aexit__(self, *_: object) -> None:
        if self._server:
            await self._server.close(SHUTDOWN_SECONDS)
        await self._turns.settle()
        await self._tasks.end()
        await self._sandbox.close()
        await self._client.close()
        self._database.close()
        if self._spans:
            await asyncio.to_thread(self._spans.close)
        if self._presence:
            self._presence.leave()

    async def ready(self) -> None:
        """Return when a model answers. Raises what stopped a background task."""
        while self._router.policy is None:
            self._tasks.raise_failure()
            await asyncio.sleep(0.05)

    async def until_failure(self) -> None:
        """Return never, or raise what stopped a background task."""
        while True:
            self._tasks.raise_failure()
            await asyncio.sleep(0.5)

    def status(self) -> dict[str, Any]:
        """What runs and what was learned; for those who have the token."""
        job = self._jobs.latest()
        route = self._routes.state()
        generation, live = self._catalog.snapshot()
        return {
            **self.health(),
            "namespace": self._settings.namespace,
            "generation": generation,
            "skills": [{"name": s.name, "version": s.version, "state": s.state.value} for s in live],
            "waiting_skills": [skill.ref for skill in self._catalog.waiting()],
            "broken_files": self._catalog.mirror.problems(),
            "adapter": {
                "wanted": route.wanted, "serving": route.serving, "detail": route.detail, "canary": route.canary,
                "canary_share": route.canary_share, "waiting": route.waiting,
            },
            "job": {"id": job.id, "state": job.state, **job.progress} if job else None,
            "learning": "settled" if settled(self._database, self._settings.namespace) else "working",
            "in_flight": self._router.in_flight(),
            "engines": self._host.state() if self._host else None,
            "weights": weights_words(self._settings),
            "upstreams": self._router.state(),
        }

    def health(self) -> dict[str, Any]:
        """How we are; for everybody on this machine."""
        policy = self._router.policy
        return {
            "status": "ok" if policy else "loading",
            "version": __version__,
            "policy": policy,
            "learner": "off" if self._link is None else ("running" if self._link.alive else "restarting"),
            "refused": self._intake.refused,
            "late": self._recorder.late,
            "lost": dict(self._recorder.lost) | {f"context: {k}": n for k, n in self._context.failures.items()}
            | {f"tools: {k}": n for k, n in self._toolbox.failures.items()},
        }

    def measures(self) -> dict[str, Any]:
        """What has been counted, for `/metrics`; also where the store cannot be read just now."""
        link = self._link
        measured = {
            **self.health(),
            "namespace": self._settings.namespace,
            "under_way": self._intake.under_way,
            "learner_up": link.alive if link else None,
            "learner_starts": link.starts if link else 0,
            "learner_dropped": link.dropped if link else 0,
            "code_calls": self._sandbox.counts,
            "upstreams": self._router.state(),
            "engines": self._host.state() if self._host else None,
            "cpu_seconds": time.process_time(),
            "spans": {"exported": self._spans.exported, "dropped": dict(self._spans.dropped)} if self._spans else None,
            "started_at": self._started_at,
            "store_up": True,
        }
        try:
            generation, live = self._catalog.snapshot()
            turns = self._database.read("SELECT coalesce(max(position), 0) FROM turns")[0][0]
            waiting = len(self._catalog.waiting())
        except StoreError:
            return {**measured, "store_up": False}
        return {
            **measured, "turns": turns, "generation": generation, "skills_live": len(live), "skills_waiting": waiting
        }

    async def _listen(self) -> None:
        gateway = self._settings.gateway
        models = ModelsHandler(self._router, self._client, self._embedded.name if self._embedded else None)
        tokens = TokenCounter(self._router, self._client)
        feedback = FeedbackHandler(self._settings.namespace, self._database, self._recorder)
        app = App(
            Door(self.token, gateway.host, gateway.allowed_hosts),
            TracedTurns(self._turns) if self._spans else self._turns, feedback, CloseHandler(self._sessions), models,
            tokens,
            KeptResponses(self._router, self._client, self._toolbox.ids), self.status, self.health, self._intake,
            self.measures,
        )
        limits = Limits(
            gateway.head_seconds, gateway.keep_alive_seconds, CONNECTIONS_PER_REQUEST * gateway.max_in_flight
        )
        self._server = Server(app, limits, chat.error_body)
        try:
            port = await self._server.listen(gateway.host, gateway.port)
        except OSError as error:
            raise MetaClawError(
                f"Cannot listen on {gateway.host}:{gateway.port} ({error.strerror}). Another MetaClaw may be running;"
                " choose another --port."
            ) from error
        self.url = gateway.url(port)

    def _announce(self) -> None:
        """For `metaclaw stop` and `doctor`. Whoever cannot be found by them serves all the same."""
        here = Running(os.getpid(), self.url, self._settings.namespace, __version__, self._started_at)
        try:
            self._presence = Presence(self._settings.home, here)
        except OSError as error:
            log.warning("`metaclaw stop` will not find this gateway: %s", error)

    def _engine_host(self, embedded: Embedded) -> EngineHost:
        serving = self._settings.serving
        return EngineHost(
            engines_of(self._settings, embedded, self._registry, self._client), embedded.name, self._routes,
            Promotions(self._routes, self._registry, serving.canary_share), self._router, 60 * serving.spare_minutes,
        )

    def _recorded(self, urgent: bool) -> None:
        if self._link:
            self._link.recorded(urgent=urgent)

    def _activity(self, under_way: int) -> None:
        if self._link:
            self._link.activity(under_way)


class Shown:
    """The dashboard, and the note on disk by which `metaclaw dashboard` finds it. Learning goes on without either."""

    def __init__(self, dashboard: Dashboard, settings: Settings) -> None:
        self._dashboard = dashboard
        self._settings = settings
        self._presence: Presence | None = None

    async def begin(self) -> None:
        try:
            await self._dashboard.listen(self._settings.dashboard.port)
            here = Running(os.getpid(), self._dashboard.url, self._settings.namespace, __version__, time.time())
            self._presence = Presence(self._settings.home, here, DASHBOARDS)
        except OSError as error:
            log.warning("there is no dashboard, or it cannot be found: %s", error)
        else:
            log.info("dashboard at %s (`metaclaw dashboard` prints a link into it)", self._dashboard.url)

    async def end(self) -> None:
        if self._presence:
            self._presence.leave()
        await self._dashboard.close()


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
    home = Home(settings)
    database = Database(home.store)
    catalog = Catalog(database, settings.namespace, home.skills)
    client = UpstreamClient(settings.upstream.connect_timeout_seconds, settings.upstream.idle_timeout_seconds)
    gateway = own_door(gateway_url, token)
    ask = _Ask(client, gateway)
    key = settings.judge.api_key
    redactor = Redactor([token, *([key.get_secret_value()] if key else [])])
    sandbox = Sandbox(settings.sandbox)  # starts nothing before the first call
    loop = curator = None
    if settings.evolve.enabled:
        if not settings.may_ask:
            log.warning("Only clients have a key (auth = 'passthrough'): no skill is replayed, or written by a model.")
        embedder = StaticEmbedder()
        writes_code = settings.evolve.code_skills and settings.evolve.proposer != "extractive" and settings.may_ask
        overheard = settings.evolve.conversation_skills
        loop = FastLoop(
            database, catalog, ask, embedder.embed, redactor, settings.evolve.proposer,
            settings.context.max_skill_tokens, _judge(settings.judge, client, gateway),
            settings.gateway.session_idle_seconds,
            code=CodeLearner(catalog, ask, sandbox, redactor, overheard) if writes_code else None, overheard=overheard,
        )
        curator = Curator(database, catalog, embedder.embed, settings.gateway.session_idle_seconds)
    scheduler, agenda = None, agenda_of(settings.schedule)
    if settings.training.enabled and embedded and _can_train(settings.training):
        job = _training_job(settings, Embedded(**embedded), database, catalog, client, ask)
        board = Board(database, settings.namespace)
        scheduler = Scheduler(job, utc_now, rule_of(settings.schedule), machine_of(settings.schedule, agenda), board)

    async def prove(edited: Skill) -> Verdict | None:
        live = next((skill for skill in catalog.live() if skill.name == edited.name), None)
        return await retest(edited, live, sandbox.run)

    edits = edits_of(catalog, redactor)
    watch = Watch(catalog, edits, prove)
    shown = None
    if settings.dashboard.enabled:
        no_torch = "Training needs PyTorch: pip install 'metaclaw[train]', and start again."
        cannot = "" if scheduler else cannot_train(settings) or no_torch
        pages = dashboard_of(settings, catalog, database, edits.warnings, agenda, cannot, gateway_url, token)
        shown = Shown(pages, settings)
    canary = canary_watch(settings, Embedded(**embedded), database) if embedded else None
    carrying = carrying_of(settings, database, catalog) if embedded else None
    return Learner(database, client, watch, loop, curator, scheduler, sandbox, canary, carrying, shown)


def dashboard_of(
    settings: Settings, catalog: Catalog, database: Database, warnings: Callable[[Skill], Sequence[str]],
    agenda: Agenda | None, cannot_train: str, gateway_url: str, token: str,
) -> Dashboard:
    """Over the rooms of the learner's process; `cannot_train` says why there is no slow loop, '' where there is one."""
    from metaclaw.dashboard.rooms import Rooms  # nothing of it is wanted in the gateway's process
    from metaclaw.dashboard.server import Dashboard

    home, namespace = Home(settings), settings.namespace
    routes, registry = Routes(database, namespace), Registry(database, namespace, home.adapters)
    promotions = Promotions(routes, registry, settings.serving.canary_share)
    carrying = carrying_of(settings, database, catalog)

    def roll_back() -> str | None:
        _, serves = promotions.roll_back()
        carrying.bring_back()
        return serves

    def promote(name: str) -> str:
        if not admitted(registry.verdicts(name)):
            raise TrainingError(f"No verdict admits '{name}'. `metaclaw adapters promote` can insist, with a reason.")
        return promotions.serve(name, at_once=False)

    rooms = Rooms(
        database=database,
        namespace=namespace,
        catalog=catalog,
        registry=registry,
        routes=routes,
        jobs=Jobs(database, namespace, home.jobs),
        board=Board(database, namespace),
        rule=rule_of(settings.schedule),
        now=utc_now,
        meetings=lambda: agenda.meetings(utc_now()) if agenda else (),
        roll_back_adapter=roll_back,
        promote_adapter=promote,
        gateway=partial(_state_of, gateway_url, token),
        settled=lambda: settled(database, namespace),
        warnings=warnings,
        places={
            "Turns, signals and history": home.store, "Skills": home.skills, "Adapters": home.adapters,
            "Training runs": home.jobs, "Search indexes": home.indexes, "Logs": home.logs,
            "Model weights": settings.weights_dir,
        },
        cannot_train=cannot_train,
        holdout_share=settings.evolve.holdout_share if settings.evolve.enabled else 0.0,
    )
    return Dashboard(rooms, token, __version__, settings.dashboard.host)


def _state_of(gateway_url: str, token: str) -> Mapping[str, Any]:
    """What the gateway says of itself; nothing where it does not answer."""
    from metaclaw.connect import answers

    try:
        status, told = answers.state(gateway_url, token)
    except ConnectError:
        return {}
    return told if status == 200 else {}


def cannot_train(settings: Settings) -> str:
    """Why there is no slow loop with these settings; '' where there is one."""
    if not settings.training.enabled:
        return "Training is off. Set training.enabled = true, and start again."
    if not settings.embedded:
        return "With a provider there is no model here to train: skills only."
    return ""


def carrying_of(settings: Settings, database: Database, catalog: Catalog) -> Carrying:
    registry = Registry(database, settings.namespace, Home(settings).adapters)
    receipts = Receipts(database, settings.namespace)
    routes = Routes(database, settings.namespace)
    return Carrying(catalog, routes, registry, receipts, leaves=settings.serving.carry_skills)


def canary_watch(settings: Settings, embedded: Embedded, database: Database) -> CanaryWatch:
    home, serving = Home(settings), settings.serving
    routes = Routes(database, settings.namespace)
    promotions = Promotions(routes, Registry(database, settings.namespace, home.adapters), serving.canary_share)
    bar = Bar(serving.canary_sessions, 3600 * serving.canary_hours)
    return CanaryWatch(
        database, settings.namespace, routes, promotions, lambda adapter: f"{embedded.name}@{adapter}", bar
    )


def rule_of(schedule: ScheduleSettings) -> Rule:
    """When the slow loop may run. Raises `ConfigError`."""
    return Rule(
        idle_seconds=schedule.idle_seconds,
        sleep=SleepHours.parse(schedule.sleep_hours),
        quiet_seconds=schedule.sleep_quiet_seconds,
        zone=ZoneInfo(schedule.time_zone) if schedule.time_zone else None,
        min_seconds=60 * schedule.min_minutes,
        on_battery=schedule.on_battery,
        max_load=schedule.max_load,
    )


def machine_of(schedule: ScheduleSettings, agenda: Agenda | None) -> Machine:
    """The senses that the settings ask for; what they do not need is not looked at."""
    return Machine(
        utc_now,
        presence_here() if schedule.watch_input else None,
        agenda,
        None if schedule.on_battery else on_battery,
        Load() if schedule.max_load < 1 else None,
    )


def agenda_of(schedule: ScheduleSettings) -> Agenda | None:
    if schedule.calendar is None:
        return None
    zone = ZoneInfo(schedule.time_zone) if schedule.time_zone else None
    return Agenda(schedule.calendar.get_secret_value(), schedule.calendar_owner, zone)


def edits_of(catalog: Catalog, redactor: Redactor) -> Edits:
    """What takes a person's changes of the library's folder in; the learner watches, commands sweep."""
    return Edits(
        catalog, lambda skill: objections(skill, redactor), lambda text: redactor.text(text) != text
    )


def weights_words(settings: Settings) -> str:
    """What becomes of the model's weights, in words."""
    if not settings.embedded:
        return "never trained: a provider answers, and has no weights to train. Skills only"
    if not settings.training.enabled:
        return "not trained: training.enabled is off"
    return f"trained while you are away; served by {settings.serving.engine}"


def engines_of(settings: Settings, embedded: Embedded, registry: Registry, client: UpstreamClient) -> Engines:
    """What serves policy versions, as the settings have it."""
    serving = settings.serving
    if serving.engine == "vllm":
        key = serving.vllm_api_key
        folder = Path(serving.vllm_adapters_dir) if serving.vllm_adapters_dir else Home(settings).adapters.parent
        return VllmEngines(
            serving.vllm_url or "", key.get_secret_value() if key else None, embedded.name, registry, client,
            folder / settings.namespace,
        )
    return LocalEngines(
        embedded.name,
        lambda policy, gguf: engine_spec(settings, embedded, policy, [gguf] if gguf else []),
        settings.model.start_timeout_seconds, registry, client, serving.reserve_memory_mb * MIB, Memory(),
    )


def engine_spec(
    settings: Settings, embedded: Embedded, policy: str, loras: Sequence[Path], *, apply: bool = True
) -> EngineSpec:
    """How an engine of ours is started."""
    model = settings.model
    return EngineSpec(
        model_path=embedded.path,
        policy=policy,
        loras=tuple(loras),
        apply_loras=apply,
        slots=model.slots,
        context_tokens=model.context_tokens,
        log_path=Home(settings).logs / "engine.log",
        threads=model.threads or os.cpu_count() or 1,
    )


class _Ask:
    """A question to the model behind a route."""

    def __init__(self, client: UpstreamClient, route: Route, model: str = "metaclaw") -> None:
        self._client = client
        self._route = route
        self._model = model

    async def __call__(self, body: dict[str, Any]) -> str:
        reply = await self._client.json(self._route, "/chat/completions", {"model": self._model, **body})
        return reply_text(reply)


def own_door(gateway_url: str, token: str) -> Route:
    """The gateway as the learner asks it: side calls, without skills."""
    return Route(
        f"{gateway_url}/v1", "gateway", api_key=token, headers=((SIDE_HEADER, "learner"), (SKILLS_HEADER, "off"))
    )


def _judge(settings: JudgeSettings, client: UpstreamClient, gateway: Route) -> Judge | None:
    if not settings.enabled:
        return None
    route = gateway
    if settings.url:
        key = settings.api_key.get_secret_value() if settings.api_key else None
        route = Route(settings.url.rstrip("/"), "judge", api_key=key)
    ask = _Ask(client, route, settings.model or "metaclaw")
    return partial(judge, rubric=settings.rubric, votes=settings.votes, ask=ask)


def _training_job(
    settings: Settings, embedded: Embedded, database: Database, catalog: Catalog, client: UpstreamClient, ask: _Ask
) -> TrainingJob:
    home = Home(settings)
    registry = Registry(database, settings.namespace, home.adapters)
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
        judging=Judging(
            registry, embedded.name, incumbent, arena, promotions.offer,
            busy=lambda: routes.state().canary is not None,
        ),
        judge=settings.judge,
    )


def _embeddings(settings: Settings, client: UpstreamClient) -> EmbeddingsEndpoint | None:
    context = settings.context
    if context.embeddings_url is None:
        return None
    key = context.embeddings_api_key.get_secret_value() if context.embeddings_api_key else None
    return EmbeddingsEndpoint(client, context.embeddings_url, context.embeddings_model, key)


def _spans(settings: Settings, redactor: Redactor, *, embedded: bool) -> Spans | None:
    if settings.telemetry.otlp_endpoint is None:
        return None
    return Spans(settings.telemetry, settings.namespace, __version__, redactor, embedded=embedded)


def _shareable(settings: Settings) -> dict[str, Any]:
    """The settings, with no more secrets than the learner needs. They travel over its stdin and are written nowhere."""
    tree = settings.model_dump(mode="json")
    for section in (tree["upstream"], *tree["upstreams"]):
        section["api_key"] = None
    for section, secret in (
        ("gateway", "token"), ("context", "embeddings_api_key"), ("serving", "vllm_api_key"), ("telemetry", "headers"),
    ):
        tree[section][secret] = None
    key = settings.judge.api_key
    tree["judge"]["api_key"] = key.get_secret_value() if key else None
    for name in ("teacher_api_key", "tinker_api_key"):
        key = getattr(settings.training, name)
        tree["training"][name] = key.get_secret_value() if key else None
    calendar = settings.schedule.calendar
    tree["schedule"]["calendar"] = calendar.get_secret_value() if calendar else None
    return tree


def _model_tokens(settings: Settings) -> int | None:
    """The context length of whatever answers; None where it is not known."""
    ours = settings.embedded and settings.serving.engine == "local"
    return settings.model.context_tokens if ours else settings.context.model_tokens or None


def _can_train(training: TrainingSettings) -> bool:
    needed = {"torch": "train"} | ({"tinker": "tinker"} if training.backend == "tinker" else {})
    for module, extra in needed.items():
        if find_spec(module) is None:
            log.warning("No training: %s is not installed. Add it with pip install 'metaclaw[%s]'.", module, extra)
            return False
    return True


def utc_now() -> datetime:
    return datetime.now(UTC)
