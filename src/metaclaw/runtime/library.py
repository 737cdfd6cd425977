"""What changes the library besides learning: a person's edits of its folder, and skills that the weights carry."""

from __future__ import annotations

from metaclaw.carrying import Carrying
from metaclaw.config.settings import Settings
from metaclaw.evolve.screen import objections
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.library.edits import Edits
from metaclaw.runtime.home import Home
from metaclaw.serving.receipts import Receipts
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry


def edits_of(catalog: Catalog, redactor: Redactor) -> Edits:
    """What takes a person's changes of the library's folder in; the learner watches, commands sweep."""
    return Edits(
        catalog, lambda skill: objections(skill, redactor), lambda text: redactor.text(text) != text
    )


def carrying_of(settings: Settings, database: Database, catalog: Catalog) -> Carrying:
    """What keeps the library in step with the adapter that serves."""
    registry = Registry(database, settings.namespace, Home(settings).adapters)
    receipts = Receipts(database, settings.namespace)
    routes = Routes(database, settings.namespace)
    return Carrying(catalog, routes, registry, receipts, leaves=settings.serving.carry_skills)
