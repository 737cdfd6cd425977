"""What the gateway says of itself: how it is, what runs and was learned, and what has been counted."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from metaclaw import __version__
from metaclaw.config.settings import Settings
from metaclaw.context.live import LiveContext
from metaclaw.errors import StoreError
from metaclaw.evolve.progress import settled
from metaclaw.gateway.intake import Intake
from metaclaw.gateway.toolbox import Toolbox
from metaclaw.journal.recorder import Recorder
from metaclaw.library.catalog import Catalog
from metaclaw.link import LearnerLink
from metaclaw.runtime.trainable import weights_words
from metaclaw.sandbox import Sandbox
from metaclaw.serving.host import EngineHost
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.telemetry.export import Spans
from metaclaw.training.jobs import Jobs
from metaclaw.upstream.route import Router


@dataclass(frozen=True)
class Report:
    """Over the parts of the gateway's process. `link` tells of the learner, which starts after us, or not at all."""

    settings: Settings
    database: Database
    catalog: Catalog
    routes: Routes
    jobs: Jobs
    router: Router
    host: EngineHost | None
    link: Callable[[], LearnerLink | None]
    intake: Intake
    recorder: Recorder
    context: LiveContext
    toolbox: Toolbox
    sandbox: Sandbox
    spans: Spans | None
    started_at: float

    def status(self) -> dict[str, Any]:
        """What runs and what was learned; for those who have the token."""
        job = self.jobs.latest()
        route = self.routes.state()
        generation, live = self.catalog.snapshot()
        return {
            **self.health(),
            "namespace": self.settings.namespace,
            "generation": generation,
            "skills": [{"name": s.name, "version": s.version, "state": s.state.value} for s in live],
            "waiting_skills": [skill.ref for skill in self.catalog.waiting()],
            "broken_files": self.catalog.mirror.problems(),
            "adapter": {
                "wanted": route.wanted, "serving": route.serving, "detail": route.detail, "canary": route.canary,
                "canary_share": route.canary_share, "waiting": route.waiting,
            },
            "job": {"id": job.id, "state": job.state, **job.progress} if job else None,
            "learning": "settled" if settled(self.database, self.settings.namespace) else "working",
            "in_flight": self.router.in_flight(),
            "engines": self.host.state() if self.host else None,
            "weights": weights_words(self.settings),
            "upstreams": self.router.state(),
        }

    def health(self) -> dict[str, Any]:
        """How we are; for everybody on this machine."""
        policy, link = self.router.policy, self.link()
        return {
            "status": "ok" if policy else "loading",
            "version": __version__,
            "policy": policy,
            "learner": "off" if link is None else ("running" if link.alive else "restarting"),
            "refused": self.intake.refused,
            "late": self.recorder.late,
            "lost": dict(self.recorder.lost) | {f"context: {k}": n for k, n in self.context.failures.items()}
            | {f"tools: {k}": n for k, n in self.toolbox.failures.items()},
        }

    def measures(self) -> dict[str, Any]:
        """What has been counted, for `/metrics`; also where the store cannot be read just now."""
        link = self.link()
        measured = {
            **self.health(),
            "namespace": self.settings.namespace,
            "under_way": self.intake.under_way,
            "learner_up": link.alive if link else None,
            "learner_starts": link.starts if link else 0,
            "learner_dropped": link.dropped if link else 0,
            "code_calls": self.sandbox.counts,
            "upstreams": self.router.state(),
            "engines": self.host.state() if self.host else None,
            "cpu_seconds": time.process_time(),
            "spans": {"exported": self.spans.exported, "dropped": dict(self.spans.dropped)} if self.spans else None,
            "started_at": self.started_at,
            "store_up": True,
        }
        try:
            generation, live = self.catalog.snapshot()
            turns = self.database.read("SELECT coalesce(max(position), 0) FROM turns")[0][0]
            waiting = len(self.catalog.waiting())
        except StoreError:
            return {**measured, "store_up": False}
        return {
            **measured, "turns": turns, "generation": generation, "skills_live": len(live), "skills_waiting": waiting
        }

