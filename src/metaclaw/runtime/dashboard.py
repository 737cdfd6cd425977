"""The dashboard over the rooms of the learner's process, and how it is shown to whoever looks for it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from metaclaw import __version__
from metaclaw.config.settings import Settings
from metaclaw.connect import answers
from metaclaw.dashboard.rooms import Rooms
from metaclaw.dashboard.server import Dashboard
from metaclaw.errors import ConnectError, TrainingError
from metaclaw.evolve.progress import settled
from metaclaw.library.catalog import Catalog
from metaclaw.running import DASHBOARDS, Presence, Running
from metaclaw.runtime.home import Home
from metaclaw.runtime.library import carrying_of
from metaclaw.runtime.schedule import rule_of, utc_now
from metaclaw.scheduler.agenda import Agenda
from metaclaw.scheduler.board import Board
from metaclaw.serving.promotion import Promotions, admitted
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.jobs import Jobs
from metaclaw.training.registry import Registry
from metaclaw.types import Skill

log = logging.getLogger(__name__)


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


def dashboard_of(
    settings: Settings, catalog: Catalog, database: Database, warnings: Callable[[Skill], Sequence[str]],
    agenda: Agenda | None, cannot_train: str, gateway_url: str, token: str,
) -> Dashboard:
    """Over the rooms of the learner's process; `cannot_train` says why there is no slow loop, '' where there is one."""
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
    try:
        status, told = answers.state(gateway_url, token)
    except ConnectError:
        return {}
    return told if status == 200 else {}
