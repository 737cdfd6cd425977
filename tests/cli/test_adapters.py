"""`metaclaw adapters`: every command on a real registry, what it prints, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from judged_adapters import admitted_adapter, judged_adapter
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from shell import Shell


class Stage:
    def __init__(self, database: Database, shell: Shell) -> None:
        self.database, self.shell = database, shell
        self.routes = Routes(database, "default")
        self.registry = Registry(database, "default", shell.data / "adapters" / "default")

    def admitted(self, name: str, parent: str | None = None) -> str:
        return admitted_adapter(self.registry, self.shell.home, name, parent).name

    def rejected(self, name: str) -> str:
        return judged_adapter(self.registry, self.shell.home, name, "rejected: not better (p = 0.500)").name

    def heard(self, adapter: str, **answers: str) -> None:
        """What the gate heard of it, as its job leaves it."""
        folder = self.shell.data / "jobs" / "default" / self.registry.get(adapter).lineage["job"]
        folder.mkdir(parents=True)
        pairs = [{"prompt": prompt, "candidate": answer} for prompt, answer in answers.items()]
        (folder / "comparison.json").write_text(json.dumps({"query": pairs}), encoding="utf-8")


@pytest.fixture
def stage(shell: Shell) -> Iterator[Stage]:
    with Database(shell.data / "metaclaw.db") as database:
        yield Stage(database, shell)


def test_list_says_how_each_is_in_service(stage: Stage, shell: Shell) -> None:
    a, b, c, d = stage.admitted("a"), stage.admitted("b"), stage.admitted("c"), stage.rejected("d")
    stage.routes.want(a, "test")
    stage.routes.now_serving(a, "test")
    stage.routes.begin_canary(b, 0.25, "test")
    stage.routes.canary_serves(b)
    stage.routes.begin_canary(c, 0.25, "test")
    found = {row["name"]: row["service"] for row in shell.json("adapters", "list")}
    assert found == {a: "serves", b: "on trial, 25%", c: "waits for a trial", d: ""}
    code, out, _ = shell("adapters", "list")
    assert code == 0
    assert a in out


def test_promote_begins_a_trial_or_serves_all_at_once(stage: Stage, shell: Shell) -> None:
    a, b = stage.admitted("a"), stage.admitted("b")
    assert shell.json("adapters", "promote", a)["done"] == f"{a} serves 25% of the sessions next"
    assert stage.routes.state().canary == a
    assert "in service already" in shell.refused("adapters", "promote", a)
    code, out, _ = shell("adapters", "promote", b, "--at-once")
    assert (code, out) == (0, f"{b} serves all sessions next\n")
    assert (stage.routes.state().wanted, stage.routes.state().canary) == (b, None)


def test_promote_refuses_what_no_verdict_admits_unless_there_is_a_reason(stage: Stage, shell: Shell) -> None:
    bad = stage.rejected("bad")
    told = shell.refused("adapters", "promote", bad)
    assert "rejected: not better (p = 0.500)" in told
    assert "--force" in told
    assert stage.routes.state().canary is None
    forced = shell.json("adapters", "promote", bad, "--force", "the checks were wrong")
    assert forced["forced"] == "the checks were wrong"
    assert stage.routes.state().canary == bad
    verdicts = shell.json("adapters", "why", bad)["verdicts"]
    assert verdicts[-1]["decision"] == "promoted by a person: the checks were wrong"
    assert "There is no adapter 'nobody'" in shell.refused("adapters", "promote", "nobody")


def test_rollback_takes_back_the_trial_and_then_what_serves(stage: Stage, shell: Shell) -> None:
    a = stage.admitted("a")
    b = stage.admitted("b", parent=a)
    stage.routes.want(a, "test")
    stage.routes.begin_canary(b, 0.25, "test")
    assert shell.json("adapters", "rollback") == {"undone": b, "serves": a, "skills_back": []}
    code, out, _ = shell("adapters", "rollback")
    assert (code, out) == (0, f"rolled back {a}; the base model serves all sessions\n")
    assert "no adapter to roll back" in shell.refused("adapters", "rollback")


def test_why_tells_the_whole_story(stage: Stage, shell: Shell) -> None:
    a = stage.admitted("a")
    b = stage.admitted("b", parent=a)
    stage.routes.want(a, "test")
    stage.routes.now_serving(a, "test")
    stage.routes.begin_canary(b, 0.25, "test")
    stage.routes.canary_serves(b)
    story = shell.json("adapters", "why", b)
    assert story["data"] == {
        "splits": {"train": 2, "query": 1}, "generations": [3], "policies": {"tiny@base": 3},
        "reasons": {"proven by its signals (check)": 3}, "left_out": {"no signal": 2}, "skills": {"dates@1": 2},
    }
    assert (story["replaced"], story["service"], story["undo"]) == (a, "on trial, 25%", "metaclaw adapters rollback")
    assert story["canary"]["step"] == "go on"
    assert story["canary"]["canary"] == {"sessions": 0, "failed": 0}
    assert shell.json("adapters", "why", a)["undo"].endswith("twice: the first takes back the trial")
    code, out, _ = shell("adapters", "why", b)
    assert code == 0
    for told in ("skills taught: dates@1 2", f"to replace {a}", "promoted: better", "0 of 0 sessions failed"):
        assert told in out


def test_diff_tells_lineage_data_and_answers(stage: Stage, shell: Shell) -> None:
    a = stage.admitted("a")
    bb = stage.admitted("bb", parent=a)
    stage.heard(a, one="1", two="2", only="here")
    stage.heard(bb, one="1", two="zwei")
    found = shell.json("adapters", "diff", a, bb)
    assert (found["ancestors"], found["common_ancestor"]) == ([[], [a]], a)
    assert found["turns"] == {"only_a": ["turn-a"], "only_b": ["turn-bb"], "both": 1}
    assert found["training"] == {"steps": [1, 2]}
    assert (found["asked_of_both"], found["answers_that_differ"]) == (2, [{"prompt": "two", "a": "2", "b": "zwei"}])
    code, out, _ = shell("adapters", "diff", a, bb)
    assert code == 0
    assert "1 turns only a, 1 only b, 1 both" in out


def test_diff_of_adapters_whose_jobs_were_wiped_has_no_answers(stage: Stage, shell: Shell) -> None:
    found = shell.json("adapters", "diff", stage.admitted("a"), stage.admitted("b"))
    assert (found["asked_of_both"], found["answers_that_differ"], found["common_ancestor"]) == (0, [], "base")


def test_export_copies_checked_files_and_overwrites_nothing(stage: Stage, shell: Shell, tmp_path: Path) -> None:
    a = stage.admitted("a")
    target = tmp_path / "peft"
    assert shell.json("adapters", "export", a, str(target))["files"] == [
        "adapter_model.safetensors", "adapter_config.json", "manifest.json"
    ]
    assert (target / "adapter_model.safetensors").read_bytes().endswith(b"a")
    assert "not empty" in shell.refused("adapters", "export", a, str(target))
    assert "adapter.gguf" in shell.json("adapters", "export", a, str(tmp_path / "both"), "--gguf")["files"]
    (Path(stage.registry.get(a).folder) / "adapter.gguf").write_bytes(b"GGUF of another")
    assert "its files were changed" in shell.refused("adapters", "export", a, str(tmp_path / "third"))
