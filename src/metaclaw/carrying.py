"""Skills that the weights carry leave the context, and come back when those weights leave.

In: the adapter that serves, and what its gate counted for each skill. Out: changes of the library, each with a receipt.
A skill leaves only while the adapter serves all sessions, and only if it is active, not pinned, and text. It comes back
as it was as soon as another adapter, or the base, is wanted: that one was not measured to carry it.
"""

from __future__ import annotations

import asyncio
import logging
import time

from metaclaw.context.compose import compose, estimate_tokens
from metaclaw.errors import MetaClawError, SkillError
from metaclaw.library.catalog import Catalog
from metaclaw.serving.receipts import Receipt, Receipts, is_carried
from metaclaw.serving.routes import Routes
from metaclaw.training.gate import admits
from metaclaw.training.registry import Registry
from metaclaw.types import Skill, SkillKind, SkillState

log = logging.getLogger(__name__)

LOOK_SECONDS = 2.0
ROOMY = 1_000_000  # tokens: whatever the budget is, what a skill takes is counted


class Carrying:
    """`leaves` says whether skills may leave; what has left comes back in any case."""

    def __init__(
        self, catalog: Catalog, routes: Routes, registry: Registry, receipts: Receipts, *, leaves: bool
    ) -> None:
        self._catalog = catalog
        self._routes = routes
        self._registry = registry
        self._receipts = receipts
        self._leaves = leaves
        self._seen: str | None = None

    async def run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.follow)
            except MetaClawError as error:
                log.error("skills cannot follow the weights, trying again: %s", error)
            await asyncio.sleep(LOOK_SECONDS)

    def follow(self) -> None:
        """Bring the library to what serves now."""
        self.bring_back()
        state = self._routes.state()
        settled = state.serving is not None and state.serving == state.wanted and state.canary is None
        if self._leaves and settled and state.serving and state.serving != self._seen:
            self._let_go(state.serving)
            self._seen = state.serving

    def bring_back(self) -> list[str]:
        """The skills whose adapter is wanted no more are live again. Returns their names."""
        wanted, back = self._routes.state().wanted, []
        for receipt in self._receipts.all():
            if receipt.returned_at is None and receipt.adapter != wanted:
                if self._comes_back(receipt):
                    back.append(receipt.name)
                self._receipts.came_back(receipt)
                self._seen = None
        return back

    def _let_go(self, adapter: str) -> None:
        admitting = [verdict for verdict in self._registry.verdicts(adapter) if admits(verdict)]
        counted = admitting[-1].evidence.get("carried", {}) if admitting else {}
        pinned = self._catalog.pinned()
        for skill in self._catalog.live():
            same = (f"{skill.name}@{version}" for version in self._catalog.wordings(skill.ref))
            counts = next((counted[ref] for ref in same if ref in counted), None)
            proven = skill.state is SkillState.ACTIVE and skill.kind is SkillKind.INSTRUCTION
            if counts and proven and skill.name not in pinned and is_carried(counts):
                self._receipts.write(Receipt(
                    adapter, skill.name, skill.version, counts["n"], counts["with"], counts["without"],
                    _tokens(skill), time.time(),
                ))
                self._catalog.change_state(skill, SkillState.RETIRED, _reason(adapter))
                log.info("skill %s left the context: %s carries it", skill.ref, adapter)

    def _comes_back(self, receipt: Receipt) -> bool:
        """False where something else became of the skill in the meantime; that stays."""
        changes = self._catalog.changes_of(receipt.name)
        if not changes or changes[-1].reason != _reason(receipt.adapter):
            return False
        try:
            self._catalog.rollback(receipt.name, f"{receipt.adapter} no longer serves")
        except SkillError as error:  # its text was erased
            log.warning("%s", error)
            return False
        return True


def _reason(adapter: str) -> str:
    return f"carried by {adapter}: the weights do it without the text"


def _tokens(skill: Skill) -> int:
    return estimate_tokens(compose([skill], ROOMY).text)
