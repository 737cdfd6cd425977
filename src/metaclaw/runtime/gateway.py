"""The gateway's process: the HTTP door, the engine host, and the learner on a line."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable
from typing import Any

from metaclaw import __version__
from metaclaw.config.secret import ensure_token, known_secrets
from metaclaw.config.settings import Settings
from metaclaw.context.embed import StaticEmbedder
from metaclaw.context.live import LiveContext
from metaclaw.dialects import chat
from metaclaw.errors import MetaClawError
from metaclaw.gateway.app import App
from metaclaw.gateway.auth import Door
from metaclaw.gateway.closing import CloseHandler
from metaclaw.gateway.feedback import FeedbackHandler
from metaclaw.gateway.intake import Intake
from metaclaw.gateway.kept_responses import KeptResponses
from metaclaw.gateway.models import ModelsHandler
from metaclaw.gateway.relay import Relay
from metaclaw.gateway.tokens import TokenCounter
from metaclaw.gateway.toolbox import Toolbox
from metaclaw.gateway.traced import TracedTurns
from metaclaw.gateway.turn import Activity, TurnHandler
from metaclaw.journal.open_sessions import OpenSessions
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.link import LearnerLink
from metaclaw.running import Presence, Running
from metaclaw.runtime.engines import Embedded, host_of
from metaclaw.runtime.greeting import greeting
from metaclaw.runtime.home import Home
from metaclaw.runtime.report import Report
from metaclaw.sandbox import Sandbox
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.tasks import Tasks
from metaclaw.telemetry.export import Spans
from metaclaw.training.jobs import Jobs
from metaclaw.training.registry import Registry
from metaclaw.upstream import providers
from metaclaw.upstream.client import UpstreamClient
from metaclaw.upstream.embeddings import EmbeddingsEndpoint
from metaclaw.upstream.route import Router
from metaclaw.wire.server import Limits, Server

log = logging.getLogger(__name__)

CONNECTIONS_PER_REQUEST = 8  # clients keep some open between requests
SHUTDOWN_SECONDS = 10.0  # for replies that are under way


class Gateway:
    """`url` is where it listens, and `token` what clients send."""

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
        self._client = UpstreamClient(
            settings.upstream.connect_timeout_seconds, settings.upstream.idle_timeout_seconds, self.token
        )
        self._context = LiveContext(
            self._catalog, settings.context, StaticEmbedder, _model_tokens(settings), home.indexes,
            _embeddings(settings, self._client), on_indexed,
            settings.evolve.holdout_share if settings.evolve.enabled else 0.0,
        )
        self._router = providers.configured(settings) or Router()
        routes = Routes(self._database, settings.namespace)
        registry = Registry(self._database, settings.namespace, home.adapters)
        self._host = host_of(settings, embedded, registry, routes, self._router, self._client) if embedded else None
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
            self._context, self._router, self._client,
            Relay(settings.namespace, self._client, self._recorder, self._sessions),
            self._sessions, Activity(self._activity), self._toolbox,
        )
        self._intake = Intake(settings.gateway)
        self._server: Server | None = None
        self._presence: Presence | None = None
        self._started_at = time.time()
        self._report = Report(
            settings=settings,
            database=self._database,
            catalog=self._catalog,
            routes=routes,
            jobs=Jobs(self._database, settings.namespace, home.jobs),
            router=self._router,
            host=self._host,
            link=lambda: self._link,
            intake=self._intake,
            recorder=self._recorder,
            context=self._context,
            toolbox=self._toolbox,
            sandbox=self._sandbox,
            spans=self._spans,
            started_at=self._started_at,
        )
        self._tasks = Tasks()

    async def __aenter__(self) -> Gateway:
        try:
            await self._start()
        except BaseException:
            await self.__aexit__()
            raise
        return self

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
        return self._report.status()

    def health(self) -> dict[str, Any]:
        """How we are; for everybody on this machine."""
        return self._report.health()

    async def _start(self) -> None:
        await self._listen()
        self._announce()
        if self._host:
            self._tasks.start(self._host.run())
        if self._settings.evolve.enabled or self._settings.training.enabled:
            self._link = LearnerLink(greeting(self._settings, self.url, self.token, self._embedded))
            self._tasks.start(self._link.run())
        self._tasks.start(self._context.run())

    async def _listen(self) -> None:
        gateway = self._settings.gateway
        limits = Limits(
            gateway.head_seconds, gateway.keep_alive_seconds, CONNECTIONS_PER_REQUEST * gateway.max_in_flight
        )
        self._server = Server(self._app(), limits, chat.error_body)
        try:
            port = await self._server.listen(gateway.host, gateway.port)
        except OSError as error:
            raise MetaClawError(
                f"Cannot listen on {gateway.host}:{gateway.port} ({error.strerror}). Another MetaClaw may be running;"
                " choose another --port."
            ) from error
        self.url = gateway.url(port)

    def _app(self) -> App:
        gateway = self._settings.gateway
        return App(
            Door(self.token, gateway.host, gateway.allowed_hosts),
            TracedTurns(self._turns) if self._spans else self._turns,
            FeedbackHandler(self._settings.namespace, self._database, self._recorder),
            CloseHandler(self._sessions),
            ModelsHandler(self._router, self._client, self._embedded.name if self._embedded else None),
            TokenCounter(self._router, self._client),
            KeptResponses(self._router, self._client, self._toolbox.ids),
            self._report.status, self._report.health, self._intake, self._report.measures,
        )

    def _announce(self) -> None:
        """For `metaclaw stop` and `doctor`. Whoever cannot be found by them serves all the same."""
        here = Running(os.getpid(), self.url, self._settings.namespace, __version__, self._started_at)
        try:
            self._presence = Presence(self._settings.home, here)
        except OSError as error:
            log.warning("`metaclaw stop` will not find this gateway: %s", error)

    def _recorded(self, urgent: bool) -> None:
        if self._link:
            self._link.recorded(urgent=urgent)

    def _activity(self, under_way: int) -> None:
        if self._link:
            self._link.activity(under_way)


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


def _model_tokens(settings: Settings) -> int | None:
    """The context length of whatever answers; None where it is not known."""
    ours = settings.embedded and settings.serving.engine == "local"
    return settings.model.context_tokens if ours else settings.context.model_tokens or None
