"""Which page and which action is behind which path."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from metaclaw.dashboard import actions, adapters, health, overview, skills, training, turns
from metaclaw.dashboard.rooms import Asked, Done, Page, Rooms

Read = Callable[[Rooms, Asked], Page]
Act = Callable[[Rooms, Asked], Done]
T = TypeVar("T")


def _paths(table: Mapping[str, T]) -> dict[re.Pattern[str], T]:
    """`{name}` stands for one part of a path."""
    return {re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", path)): meant for path, meant in table.items()}


PAGES: Mapping[re.Pattern[str], Read] = _paths({
    "/": overview.overview,
    "/turns": turns.turns,
    "/turns/rows": turns.rows,
    "/turns/{id}": turns.turn,
    "/skills": skills.skills,
    "/skills/{name}": skills.skill,
    "/adapters": adapters.adapters,
    "/adapters/{name}": adapters.adapter,
    "/training": training.training,
    "/training/progress": training.progress,
    "/health": health.health,
})
ACTIONS: Mapping[re.Pattern[str], Act] = _paths({
    "/skills/{name}/approve": actions.approve,
    "/skills/{name}/reject": actions.reject,
    "/skills/{name}/discard": actions.discard,
    "/skills/{name}/retire": actions.retire,
    "/skills/{name}/rollback": actions.roll_back,
    "/adapters/{name}/rollback": actions.roll_back_adapter,
    "/adapters/{name}/promote": actions.promote_adapter,
    "/training/now": actions.train_now,
    "/training/pause": actions.hold_training,
    "/training/resume": actions.resume_training,
})
