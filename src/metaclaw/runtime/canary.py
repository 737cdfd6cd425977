"""The watch over an adapter on trial, from the settings."""

from __future__ import annotations

from metaclaw.config.settings import Settings
from metaclaw.runtime.engines import Embedded
from metaclaw.runtime.home import Home
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes
from metaclaw.serving.trial import Bar
from metaclaw.serving.watch import CanaryWatch
from metaclaw.store import Database
from metaclaw.training.registry import Registry


def canary_watch(settings: Settings, embedded: Embedded, database: Database) -> CanaryWatch:
    home, serving = Home(settings), settings.serving
    routes = Routes(database, settings.namespace)
    promotions = Promotions(routes, Registry(database, settings.namespace, home.adapters), serving.canary_share)
    bar = Bar(serving.canary_sessions, 3600 * serving.canary_hours)
    return CanaryWatch(
        database, settings.namespace, routes, promotions, lambda adapter: f"{embedded.name}@{adapter}", bar
    )
