"""Skills leave the context when weights that carry them serve all, with a receipt, and come back with the rollback."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from judged_adapters import admitted_adapter
from metaclaw.carrying import Carrying
from metaclaw.library.catalog import Catalog
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.receipts import Receipts, is_carried
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from metaclaw.types import SkillState, Verdict
from support import NAMESPACE, make_skill

PARITY = {"n": 6, "with": 6, "without": 6, "lost": 0}


class Home:
    def __init__(self, database: Database, folder: Path, *, leaves: bool = True) -> None:
        self.catalog = Catalog(database, NAMESPACE, folder / "skills")
        self.registry = Registry(database, NAMESPACE, folder / "adapters")
        self.routes, self.receipts = Routes(database, NAMESPACE), Receipts(database, NAMESPACE)
        self.promotions = Promotions(self.routes, self.registry, 0.25)
        self.carrying = Carrying(self.catalog, self.routes, self.registry, self.receipts, leaves=leaves)
        self._folder = folder

    def adapter(self, name: str, **carried: dict[str, int]) -> str:
        adapter = admitted_adapter(self.registry, self._folder, name)
        evidence = {"carried": {f"{skill.replace('_', '-')}@1": counts for skill, counts in carried.items()}}
        verdict = Verdict(f"adapter:{adapter.name}", "base", adapter.name, 6, 1.0, 0.99, "promoted: x", evidence)
        self.registry.note(adapter.name, verdict)
        return adapter.name

    def skill(self, name: str, state: SkillState = SkillState.ACTIVE, **changes: Any) -> None:
        self.catalog.publish(make_skill(name, "Dates are written like 2026-01-31.", **changes), state, "test", [])

    def serve(self, adapter: str | None) -> None:
        self.routes.want(adapter, "test")
        self.routes.now_serving(adapter, "test")
        self.carrying.follow()

    def live(self) -> set[str]:
        return {skill.name for skill in self.catalog.live()}


@pytest.fixture
def home(database: Database, tmp_path: Path) -> Home:
    return Home(database, tmp_path)


@pytest.mark.parametrize(("counts", "carried"), [
    (PARITY, True), ({"n": 20, "with": 20, "without": 18, "lost": 2}, True),
    ({"n": 20, "with": 20, "without": 17, "lost": 3}, False), ({"n": 4, "with": 4, "without": 4, "lost": 0}, False),
    ({"n": 20, "with": 10, "without": 10, "lost": 2}, False), ({"n": 6, "with": 0, "without": 0, "lost": 0}, False),
])
def test_carried_is_what_is_right_without_the_text_on_enough_prompts(counts: dict[str, int], carried: bool) -> None:
    assert is_carried(counts) is carried


def test_a_carried_skill_leaves_with_a_receipt_and_comes_back_with_the_rollback(home: Home) -> None:
    home.skill("file-names")
    home.skill("other")
    a = home.adapter("a", file_names=PARITY)
    home.serve(a)
    assert home.live() == {"other"}
    [receipt] = home.receipts.all()
    assert (receipt.adapter, receipt.name, receipt.n, receipt.right_with, receipt.right_without) == (
        a, "file-names", 6, 6, 6
    )
    assert 40 < receipt.tokens < 80
    generation = home.catalog.generation()
    home.carrying.follow()
    assert home.catalog.generation() == generation  # nothing more to do
    home.promotions.roll_back()
    assert home.carrying.bring_back() == ["file-names"]
    assert home.live() == {"file-names", "other"}
    assert home.catalog.get("file-names").state is SkillState.ACTIVE
    assert home.receipts.all()[0].returned_at is not None
    assert home.carrying.bring_back() == []


def test_it_leaves_again_when_the_adapter_serves_again(home: Home) -> None:
    home.skill("file-names")
    a = home.adapter("a", file_names=PARITY)
    home.serve(a)
    home.serve(None)
    assert home.live() == {"file-names"}
    assert home.catalog.get("file-names").version == 2  # with the same text
    home.serve(a)
    assert home.live() == set()


def test_what_is_on_trial_pinned_or_code_or_was_not_carried_stays(home: Home) -> None:
    home.skill("on-trial", SkillState.TRIAL)
    home.skill("pinned")
    home.skill("weak")
    home.catalog.pin("pinned", "test")
    weak = {"n": 6, "with": 6, "without": 4, "lost": 2}
    home.serve(home.adapter("a", on_trial=PARITY, pinned=PARITY, weak=weak))
    assert home.live() == {"on-trial", "pinned", "weak"}
    assert home.receipts.all() == []


def test_nothing_leaves_while_the_adapter_is_on_trial_or_about_to_serve(home: Home) -> None:
    home.skill("file-names")
    a = home.adapter("a", file_names=PARITY)
    home.routes.want(a, "test")
    home.carrying.follow()
    home.routes.now_serving(a, "test")
    home.routes.begin_canary(home.adapter("b"), 0.25, "test")
    home.carrying.follow()
    assert home.live() == {"file-names"}


def test_nothing_leaves_where_the_settings_say_so_and_what_had_left_comes_back(
    database: Database, tmp_path: Path
) -> None:
    home = Home(database, tmp_path)
    home.skill("file-names")
    a = home.adapter("a", file_names=PARITY)
    home.serve(a)
    off = Home(database, tmp_path, leaves=False)
    off.serve(a)
    assert off.live() == set()  # it left before
    off.serve(None)
    assert off.live() == {"file-names"}
    off.serve(a)
    assert off.live() == {"file-names"}


def test_what_a_person_did_with_the_skill_meanwhile_stays(home: Home) -> None:
    home.skill("file-names")
    home.serve(home.adapter("a", file_names=PARITY))
    home.catalog.publish(make_skill("file-names", "A newer rule."), SkillState.TRIAL, "by hand", [])
    home.serve(None)
    assert home.catalog.get("file-names").body == "A newer rule."
    assert home.catalog.get("file-names").state is SkillState.TRIAL
