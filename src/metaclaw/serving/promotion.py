"""How an adapter comes into service and out of it again: first a share of the sessions, then all; and back.

In: an adapter with its verdict, what was observed of it, a person's word. Out: what `routes` wants, and the adapter's
state and verdicts in the registry. The engine host of the gateway does the rest.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from metaclaw.errors import TrainingError
from metaclaw.serving.routes import Routes
from metaclaw.training.registry import Registry
from metaclaw.types import Adapter, AdapterState, Verdict

BY_A_PERSON, FORCED, REFUSED = "a person said so", "promoted by a person", "refused"


class Promotions:
    """`share` of the sessions is what a new adapter serves at first; 0 lets it serve all at once."""

    def __init__(self, routes: Routes, registry: Registry, share: float) -> None:
        self._routes = routes
        self._registry = registry
        self._share = share

    def offer(self, adapter: Adapter) -> str:
        """Put what the gate admitted to the test of real use, if what it was compared with still serves. What is in
        service already stays as it is. Returns what became of it, in words.
        """
        state = self._routes.state()
        if service := state.service_of(adapter.name):
            return f"{adapter.name} {service}"
        wanted = state.wanted
        if adapter.parent == wanted:
            return self._try(adapter)
        words = f"never served: it was compared with {adapter.parent or 'base'}, not {wanted or 'base'}"
        self._registry.note(adapter.name, _verdict(adapter, wanted, words, {}), AdapterState.ROLLED_BACK)
        return f"{adapter.name} {words}"

    def _try(self, adapter: Adapter) -> str:
        if not self._share:
            self._routes.want(adapter.name, f"promoted {adapter.name}")
            return f"{adapter.name} serves all sessions next"
        before = self._routes.state().waiting
        if self._routes.begin_canary(adapter.name, self._share, f"{adapter.name} goes on trial"):
            return f"{adapter.name} serves {self._share:.0%} of the sessions next"
        if before and before != adapter.name:
            self._registry.set_state(before, AdapterState.ROLLED_BACK)
        return f"{adapter.name} waits for the end of the trial that is under way"

    def insist(self, name: str, reason: str, *, at_once: bool = False) -> str:
        """A person's word in place of the gate's: `reason` is recorded as a verdict.

        Raises `TrainingError` where the adapter's files may not serve.
        """
        self._require_out(name, at_once=at_once)
        adapter = self._registry.checked(name)
        words = f"{FORCED}: {reason}"
        self._registry.decide(name, _verdict(adapter, self._wanted, words, {"reason": reason}), AdapterState.PROMOTED)
        return self.serve(name, at_once=at_once)

    def serve(self, name: str, *, at_once: bool = False) -> str:
        """Bring an adapter that a verdict admits into service, again if need be. Raises `TrainingError`."""
        self._require_out(name, at_once=at_once)
        adapter = self._registry.checked(name)
        self._registry.set_state(name, AdapterState.PROMOTED)
        if not at_once:
            return self._try(adapter)
        canary, words = self._routes.state().canary, f"promoted {name} for all sessions at once"
        if canary != name:
            self._routes.want(name, words)
        if canary:
            self._routes.end_canary(canary, words, to_all=canary == name)
        return f"{name} serves all sessions next"

    def _require_out(self, name: str, *, at_once: bool) -> None:
        state = self._routes.state()
        if name == state.wanted or (name == state.canary and not at_once):
            raise TrainingError(f"Adapter '{name}' is in service already: `metaclaw adapters list` shows how.")

    def pass_on(self, name: str, why: str, evidence: Mapping[str, Any]) -> None:
        """The canary has stood the test: it serves all."""
        verdict = _verdict(self._registry.get(name), self._wanted, f"serves all: {why}", evidence)
        if self._routes.end_canary(name, f"{name} serves all: {why}", to_all=True):
            self._registry.note(name, verdict)
            self.next()

    def take_back(self, name: str, why: str, evidence: Mapping[str, Any]) -> None:
        """The canary has failed: nobody gets it any more."""
        verdict = _verdict(self._registry.get(name), self._wanted, f"rolled back: {why}", evidence)
        if self._routes.end_canary(name, f"rolled back {name}: {why}", to_all=False):
            self._registry.note(name, verdict, AdapterState.ROLLED_BACK)
            self.next()

    def refuse(self, name: str, why: str) -> None:
        """There was no room to serve it. That is no evidence: `adapters promote` brings it in again without force."""
        state = self._routes.state()
        verdict = _verdict(self._registry.get(name), state.wanted, f"{REFUSED}: {why}", {})
        if state.canary != name:
            self._registry.note(name, verdict)
        elif self._routes.end_canary(name, f"{REFUSED} {name}: {why}", to_all=False):
            self._registry.note(name, verdict, AdapterState.ROLLED_BACK)
            self.next()

    def drop(self, name: str, why: str) -> None:
        """Its engine does not come up any more: the base model serves all instead, if it is still wanted."""
        verdict = _verdict(self._registry.get(name), name, f"rolled back: {why}", {})
        self._registry.note(name, verdict, AdapterState.ROLLED_BACK)
        self._routes.give_up(name, None, f"rolled back {name}: {why}")

    def roll_back(self) -> tuple[str, str | None]:
        """Undo the newest step: the canary, or else the adapter that serves all. Returns what was undone, and what
        serves all then.

        Raises `TrainingError` where the base model alone is served.
        """
        state = self._routes.state()
        if state.canary:
            self.take_back(state.canary, BY_A_PERSON, {})
            return state.canary, state.wanted
        if state.wanted is None:
            raise TrainingError("The base model is served: there is no adapter to roll back.")
        adapter = self._registry.get(state.wanted)
        words = f"rolled back: {BY_A_PERSON}"
        self._registry.note(adapter.name, _verdict(adapter, state.wanted, words, {}), AdapterState.ROLLED_BACK)
        back = goes_back_to(self._registry, adapter.name)
        self._routes.want(back, f"rolled back {adapter.name}")
        return adapter.name, back

    def next(self) -> None:
        """Offer the adapter that waits."""
        if name := self._routes.take_waiting():
            self.offer(self._registry.get(name))

    @property
    def _wanted(self) -> str | None:
        return self._routes.state().wanted


def admitted(verdicts: Sequence[Verdict]) -> bool:
    """Whether the last word of the evidence lets an adapter serve. What a person said of it is no evidence,
    nor is that there was no room for it.
    """
    decisions = [verdict.decision for verdict in verdicts]
    words = [said for said in decisions if not said.endswith(BY_A_PERSON) and not said.startswith((FORCED, REFUSED))]
    return bool(words) and words[-1].startswith(("promoted:", "serves all"))


def goes_back_to(registry: Registry, name: str) -> str | None:
    """What serves in the place of an adapter that is rolled back: the nearest of its ancestors that was not rolled back
    itself, is not stale and is of the same base model; None for the base.
    """
    adapter, stale = registry.get(name), registry.stale()
    base_model = adapter.base_model
    while adapter.parent is not None:
        adapter = registry.get(adapter.parent)
        may_serve = adapter.state is AdapterState.PROMOTED and adapter.name not in stale
        if may_serve and adapter.base_model == base_model:
            return adapter.name
    return None


def roll_back_stale(routes: Routes, registry: Registry, stale: Collection[str]) -> str | None:
    """Take every stale adapter out of service. Where one of them is wanted, what it goes back to is wanted again.
    Returns the name of what is wanted then.
    """
    wanted = routes.state().wanted
    for name in stale:
        routes.stop_waiting(name)
        routes.end_canary(name, f"{name} came from data that was erased", to_all=False)
        if registry.get(name).state is not AdapterState.REJECTED:
            registry.set_state(name, AdapterState.ROLLED_BACK)
    if wanted is None or wanted not in stale:
        return wanted
    back = goes_back_to(registry, wanted)
    routes.want(back, f"{wanted} came from data that was erased")
    return back


def _verdict(adapter: Adapter, baseline: str | None, decision: str, evidence: Mapping[str, Any]) -> Verdict:
    """`evidence` may hold `n`, `effect` and `confidence`; a person's word has none."""
    return Verdict(
        f"adapter:{adapter.name}", baseline or "base", adapter.name, int(evidence.get("n", 0)),
        float(evidence.get("effect", 0.0)), float(evidence.get("confidence", 0.0)), decision, dict(evidence),
    )
