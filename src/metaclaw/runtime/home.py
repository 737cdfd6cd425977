"""Where things are kept on disk."""

from __future__ import annotations

from metaclaw.config.settings import Settings


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
