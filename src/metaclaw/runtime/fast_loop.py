"""The fast loop, from failures to skills: what writes and proves them, and what tends the library."""

from __future__ import annotations

import logging

from metaclaw.config.settings import Settings
from metaclaw.context.embed import StaticEmbedder
from metaclaw.evolve.code import CodeLearner
from metaclaw.evolve.curate import Curator
from metaclaw.evolve.lessons import Lessons
from metaclaw.evolve.loop import FastLoop, Judge
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.runtime.asking import Ask
from metaclaw.sandbox import Sandbox
from metaclaw.store import Database

log = logging.getLogger(__name__)


def fast_loop(
    settings: Settings, database: Database, catalog: Catalog, ask: Ask, judge: Judge | None, redactor: Redactor,
    sandbox: Sandbox,
) -> tuple[FastLoop, Curator]:
    if not settings.may_ask:
        log.warning("Only clients have a key (auth = 'passthrough'): no skill is replayed, or written by a model.")
    embedder = StaticEmbedder()
    writes_code = settings.evolve.code_skills and settings.evolve.proposer != "extractive" and settings.may_ask
    overheard = settings.evolve.conversation_skills
    lessons = Lessons(
        database, catalog, ask, embedder.embed, redactor, settings.evolve.proposer, settings.context.max_skill_tokens,
        overheard,
    )
    loop = FastLoop(
        database, catalog, lessons, embedder.embed, judge, settings.gateway.session_idle_seconds,
        code=CodeLearner(catalog, ask, sandbox, redactor, overheard, ask.message) if writes_code else None,
        posted=settings.evolve.posted_feedback,
    )
    return loop, Curator(database, catalog, embedder.embed, settings.gateway.session_idle_seconds)
