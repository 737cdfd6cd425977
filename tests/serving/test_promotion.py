"""Into service by steps, one trial at a time, and out of it again: every step leaves its verdict."""

from __future__ import annotations

from pathlib import Path

import pytest

from judged_adapters import admitted_adapter, judged_adapter
from metaclaw.errors import TrainingError
from metaclaw.serving.promotion import Promotions, admitted, roll_back_stale
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from metaclaw.types import AdapterState
from support import NAMESPACE

EVIDENCE = {"n": 40, "effect": 0.1, "confidence": 0.5}


class Stage:
    def __init__(self, database: Database, folder: Path, share: float = 0.25) -> None:
        self.folder = folder
        self.routes = Routes(database, NAMESPACE)
        self.registry = Registry(database, NAMESPACE, folder / "adapters")
        self.promotions = Promotions(self.routes, self.registry, share)

    def adapter(self, name: str, parent: str | None = None) -> str:
        return admitted_adapter(self.registry, self.folder, name, parent).name

    def offer(self, name: str) -> str:
        return self.promotions.offer(self.registry.get(name))

    def said(self, name: str) -> list[str]:
        return [verdict.decision for verdict in self.registry.verdicts(name)]


@pytest.fixture
def stage(database: Database, tmp_path: Path) -> Stage:
    return Stage(database, tmp_path)


def test_a_new_adapter_goes_on_trial_and_then_serves_all(stage: Stage) -> None:
    a = stage.adapter("a")
    assert stage.offer(a) == f"{a} serves 25% of the sessions next"
    state = stage.routes.state()
    assert (state.wanted, state.canary, state.canary_share, state.canary_since) == (None, a, 0.25, None)
    stage.promotions.pass_on(a, "no harm in 20 sessions", EVIDENCE)
    state = stage.routes.state()
    assert (state.wanted, state.canary, state.canary_share) == (a, None, 0.0)
    assert stage.said(a)[1:] == ["serves all: no harm in 20 sessions"]
    assert stage.registry.get(a).state is AdapterState.PROMOTED
    verdict = stage.registry.verdicts(a)[-1]
    assert (verdict.baseline, verdict.n, verdict.effect, verdict.evidence) == ("base", 40, 0.1, EVIDENCE)


def test_without_a_share_it_serves_all_at_once(database: Database, tmp_path: Path) -> None:
    stage = Stage(database, tmp_path, share=0.0)
    a = stage.adapter("a")
    assert stage.offer(a) == f"{a} serves all sessions next"
    assert (stage.routes.state().wanted, stage.routes.state().canary) == (a, None)


def test_a_canary_that_is_taken_back_leaves_what_served(stage: Stage) -> None:
    a = stage.adapter("a")
    stage.offer(a)
    stage.promotions.take_back(a, "it fails", EVIDENCE)
    stage.promotions.take_back(a, "it fails", EVIDENCE)  # another process saw it too
    assert (stage.routes.state().wanted, stage.routes.state().canary) == (None, None)
    assert stage.said(a)[1:] == ["rolled back: it fails"]
    assert stage.registry.get(a).state is AdapterState.ROLLED_BACK


def test_a_second_adapter_waits_and_is_tried_when_the_first_has_failed(stage: Stage) -> None:
    a, b = stage.adapter("a"), stage.adapter("b")
    stage.offer(a)
    assert stage.offer(b) == f"{b} waits for the end of the trial that is under way"
    assert (stage.routes.state().canary, stage.routes.state().waiting) == (a, b)
    stage.promotions.take_back(a, "it fails", {})
    assert (stage.routes.state().canary, stage.routes.state().waiting) == (b, None)


def test_one_that_is_in_service_stays_as_it_is_when_it_is_offered_again(stage: Stage) -> None:
    a, b = stage.adapter("a"), stage.adapter("b")
    stage.offer(a)
    stage.offer(b)
    assert stage.offer(a) == f"{a} about to go on trial"
    assert stage.offer(b) == f"{b} waits for a trial"
    assert (stage.routes.state().canary, stage.routes.state().waiting) == (a, b)
    stage.promotions.take_back(a, "it fails", {})
    stage.promotions.pass_on(b, "no harm", {})
    assert stage.offer(b) == f"{b} about to serve"
    assert (stage.routes.state().wanted, stage.routes.state().canary) == (b, None)
    assert len(stage.said(b)) == 2


def test_an_adapter_does_not_wait_for_itself(stage: Stage) -> None:
    a, b = stage.adapter("a"), stage.adapter("b")
    stage.offer(a)
    assert stage.routes.begin_canary(a, 0.25, "test")
    assert stage.routes.state().waiting is None
    stage.offer(b)
    stage.routes.end_canary(a, "test", to_all=False)
    assert stage.routes.begin_canary(b, 0.25, "test")
    assert (stage.routes.state().canary, stage.routes.state().waiting) == (b, None)


def test_one_that_was_compared_with_what_no_longer_serves_is_not_tried(stage: Stage) -> None:
    a, b = stage.adapter("a"), stage.adapter("b")
    stage.offer(a)
    stage.offer(b)
    stage.promotions.pass_on(a, "no harm", {})
    state = stage.routes.state()
    assert (state.wanted, state.canary, state.waiting) == (a, None, None)
    assert stage.said(b)[1:] == [f"never served: it was compared with base, not {a}"]
    assert stage.registry.get(b).state is AdapterState.ROLLED_BACK


def test_of_two_that_wait_the_newer_stays(stage: Stage) -> None:
    a, b, c = (stage.adapter(name) for name in "abc")
    for name in (a, b, c):
        stage.offer(name)
    assert stage.routes.state().waiting == c
    assert stage.registry.get(b).state is AdapterState.ROLLED_BACK


def test_rollback_undoes_the_trial_first_and_then_what_serves(stage: Stage) -> None:
    a = stage.adapter("a")
    b = stage.adapter("b", parent=a)
    stage.routes.want(a, "test")
    stage.offer(b)
    assert stage.promotions.roll_back() == (b, a)
    assert stage.promotions.roll_back() == (a, None)
    assert stage.routes.state().wanted is None
    with pytest.raises(TrainingError, match="no adapter to roll back"):
        stage.promotions.roll_back()
    assert stage.said(a)[-1] == "rolled back: a person said so"


def test_a_rollback_passes_over_what_was_rolled_back_and_what_is_stale(stage: Stage) -> None:
    a = stage.adapter("a")
    b = stage.adapter("b", parent=a)
    c = stage.adapter("c", parent=b)
    stage.routes.want(b, "test")
    assert stage.promotions.roll_back() == (b, a)
    stage.routes.want(c, "test")
    assert stage.promotions.roll_back() == (c, a)
    stage.promotions.serve(c, at_once=True)
    stage.registry.mark_stale([stage.registry.get(a)], "erased", "test")
    assert stage.promotions.roll_back() == (c, None)


def test_erasing_does_not_bring_back_what_was_rolled_back(stage: Stage) -> None:
    a = stage.adapter("a")
    b = stage.adapter("b", parent=a)
    stage.routes.want(a, "test")
    stage.promotions.roll_back()
    stage.promotions.serve(b, at_once=True)
    assert roll_back_stale(stage.routes, stage.registry, [b]) is None
    assert stage.routes.state().wanted is None


@pytest.mark.parametrize("share", [0.0, 0.25])
def test_what_the_gate_admits_is_not_tried_where_another_serves_than_it_was_compared_with(
    database: Database, tmp_path: Path, share: float
) -> None:
    stage = Stage(database, tmp_path, share)
    a = stage.adapter("a")
    b = stage.adapter("b", parent=a)
    assert stage.offer(b) == f"{b} never served: it was compared with {a}, not base"
    assert (stage.routes.state().wanted, stage.routes.state().canary) == (None, None)
    assert stage.registry.get(b).state is AdapterState.ROLLED_BACK
    assert stage.promotions.serve(b).startswith(f"{b} serves")  # a person may try it against what serves now


def test_one_whose_engine_does_not_come_up_gives_way_to_the_base_unless_another_is_wanted(stage: Stage) -> None:
    a, b = stage.adapter("a"), stage.adapter("b")
    stage.routes.want(a, "test")
    stage.promotions.drop(a, "it does not come back")
    assert stage.routes.state().wanted is None
    stage.routes.want(b, "test")
    stage.promotions.drop(a, "it does not come back")
    assert stage.routes.state().wanted == b


def test_what_a_person_insists_on_is_recorded_with_the_reason(stage: Stage) -> None:
    bad = judged_adapter(stage.registry, stage.folder, "bad", "rejected: not better").name
    stage.promotions.insist(bad, "the checks are wrong", at_once=True)
    assert stage.routes.state().wanted == bad
    verdict = stage.registry.verdicts(bad)[-1]
    assert (verdict.decision, verdict.evidence) == (
        "promoted by a person: the checks are wrong", {"reason": "the checks are wrong"}
    )
    with pytest.raises(TrainingError, match="in service already"):
        stage.promotions.serve(bad)


def test_what_is_on_trial_can_be_given_to_all_at_once(stage: Stage) -> None:
    a = stage.adapter("a")
    stage.offer(a)
    assert stage.promotions.serve(a, at_once=True) == f"{a} serves all sessions next"
    assert (stage.routes.state().wanted, stage.routes.state().canary) == (a, None)


def test_nothing_is_recorded_of_what_is_in_service_already(stage: Stage) -> None:
    a = stage.adapter("a")
    stage.offer(a)
    with pytest.raises(TrainingError, match="in service already"):
        stage.promotions.insist(a, "why not")
    assert len(stage.said(a)) == 1


def test_only_evidence_admits(stage: Stage) -> None:
    a = stage.adapter("a")
    stage.offer(a)
    assert admitted(stage.registry.verdicts(a))
    stage.promotions.roll_back()
    assert admitted(stage.registry.verdicts(a))  # a person's change of mind is no evidence
    stage.promotions.serve(a)
    stage.promotions.take_back(a, "12 of 20 sessions failed", {})
    assert not admitted(stage.registry.verdicts(a))
    stage.promotions.insist(a, "try again")
    assert not admitted(stage.registry.verdicts(a))
    assert not admitted([])


def test_what_was_erased_is_neither_tried_nor_waits(stage: Stage) -> None:
    a, b = stage.adapter("a"), stage.adapter("b")
    stage.offer(a)
    stage.offer(b)
    assert roll_back_stale(stage.routes, stage.registry, [a, b]) is None
    state = stage.routes.state()
    assert (state.wanted, state.canary, state.waiting) == (None, None, None)


def test_a_trial_begins_to_count_once_when_it_serves(stage: Stage) -> None:
    a = stage.adapter("a")
    stage.offer(a)
    stage.routes.canary_serves(a)
    since = stage.routes.state().canary_since
    stage.routes.canary_serves(a)  # its engine was started again with the gateway
    assert stage.routes.state().canary_since == since is not None
