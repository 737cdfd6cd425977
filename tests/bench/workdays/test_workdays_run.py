"""The whole bench on real gateways with real learners, before a scripted worker; the run file; the figures."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp import web
from rich.console import Console

from metaclaw.bench.client import GatewayClient
from metaclaw.bench.workdays import metrics, playing
from metaclaw.bench.workdays.arms import ARMS, Arm
from metaclaw.bench.workdays.generate import Day, Workdays, generate
from metaclaw.bench.workdays.outcome import record_of
from metaclaw.bench.workdays.playing import Plan, groups
from metaclaw.bench.workdays.report import make_checks, smooth
from metaclaw.bench.workdays.run import COURSE, main, run
from metaclaw.bench.workdays.runfile import Record, RunFile
from metaclaw.errors import MetaClawError
from office_worker import OfficeWorker
from upstream_server import ScriptedUpstream, upstream, whole

RECORD = Record("d01q01", 1, 1, "file", "carry-over", True, 1.0, True)


@pytest.fixture(scope="module")
def days() -> Workdays:
    return generate(1)


@pytest.fixture
async def scripted(days: Workdays) -> AsyncIterator[ScriptedUpstream]:
    async with upstream(OfficeWorker(days)) as opened:
        yield opened


@pytest.fixture
def provider(scripted: ScriptedUpstream) -> str:
    return scripted.url


def plan_for(folder: Path, url: str, *arms: str, days: int = 1) -> Plan:
    return Plan(COURSE, "single", arms, days, url, "office-worker", 5, folder / "runs", (1.0, 2.0))


async def test_skills_are_learned_and_everything_is_written_down(provider: str, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, provider, "frozen", "skills")
    await run(plan, (1,), tmp_path / "results", Console(quiet=True))
    await run(replace(plan, days=2), (1,), tmp_path / "results", Console(quiet=True))  # goes on with what was learned
    result = json.loads((tmp_path / "results" / "workdays.json").read_text())
    assert result["arms"]["skills"]["value"] > result["arms"]["frozen"]["value"]
    assert result["checks"]["skills_relative_gain"]["holds"]
    assert result["details"]["frozen"]["per_question"]["money"] > 0
    assert result["baselines"]["seed 1"]["oracle"]["files"] == 1
    assert result["command"].startswith("metaclaw bench workdays --mode single --arms frozen,skills")
    assert (tmp_path / "results" / "workdays.png").stat().st_size > 1_000
    assert "data:image/png" in (tmp_path / "results" / "workdays.html").read_text()
    lines = (tmp_path / "runs" / COURSE / "single" / "seed1" / "skills.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines[1:]]
    assert {record["id"][:3] for record in records} == {"d01", "d02"}
    second = [record for record in records if record["day"] == 2]
    assert sum(bool(record["skills"]) for record in second) > len(second) / 2  # what the first day taught is there
    assert sum(record["right"] for record in second) > len(second) / 2


async def test_a_finished_run_asks_nothing_more_and_reports_again(
    tmp_path: Path, days: Workdays, scripted: ScriptedUpstream
) -> None:
    plan = plan_for(tmp_path, scripted.url, "frozen")
    await run(plan, (1,), tmp_path / "results", Console(quiet=True))
    asked = len(scripted.seen)
    (tmp_path / "results" / "workdays.json").unlink()
    await run(plan, (1,), tmp_path / "results", Console(quiet=True))
    result = json.loads((tmp_path / "results" / "workdays.json").read_text())
    assert result["arms"]["frozen"]["n"] == len(days.days[0].questions) == asked == len(scripted.seen)


async def test_the_first_questions_of_each_day_alone_are_a_course_of_their_own(provider: str, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, provider, "frozen", days=3)
    await run(plan, (1,), tmp_path / "results", Console(quiet=True), questions=2)
    result = json.loads((tmp_path / "results" / "workdays.json").read_text())
    assert result["arms"]["frozen"]["n"] == 6
    assert result["command"].endswith("--days 3 --questions 2")
    assert (tmp_path / "runs" / f"{COURSE}-2-a-day").is_dir()


async def test_a_request_that_fails_ends_the_run_and_says_how_to_go_on(
    tmp_path: Path, scripted: ScriptedUpstream
) -> None:
    scripted.answer = whole(b"{}", status=500)
    with pytest.raises(MetaClawError, match="The same command goes on"):
        await run(plan_for(tmp_path, scripted.url, "frozen"), (1,), tmp_path / "results", Console(quiet=True))


async def test_sigterm_stops_the_run_and_its_gateway(
    tmp_path: Path, scripted: ScriptedUpstream, nothing_left: None
) -> None:
    async def stops(_: web.Request) -> web.StreamResponse:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()
        raise AssertionError("it waits for ever")

    scripted.answer = stops
    with pytest.raises(MetaClawError, match="Stopped"):
        await run(plan_for(tmp_path, scripted.url, "frozen"), (1,), tmp_path / "results", Console(quiet=True))


async def test_learning_that_was_deleted_is_missed(tmp_path: Path, provider: str) -> None:
    plan = plan_for(tmp_path, provider, "skills")
    file = plan.run_file(generate(1), ARMS["skills"])
    file.add(RECORD)
    with pytest.raises(MetaClawError, match="is gone"):
        await run(plan, (1,), tmp_path / "results", Console(quiet=True))


def test_unknown_arms_and_impossible_days_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetaClawError, match="no arm thawed"):
        plan_for(tmp_path, "http://127.0.0.1:9/v1", "thawed")
    plan = plan_for(tmp_path, "http://127.0.0.1:9/v1", "frozen", days=45)
    with pytest.raises(MetaClawError, match="between 1 and 44"):
        main(plan, (1,), tmp_path, Console(quiet=True))


def test_weights_and_both_share_a_gateway_on_which_weights_comes_first() -> None:
    def named(*names: str) -> list[list[str]]:
        return [[arm.name for arm in group] for group in groups(names)]

    assert named("frozen", "both", "skills") == [["frozen"], ["skills"], ["both"]]
    assert named("both", "weights") == named("weights") == [["weights", "both"]]
    assert not ARMS["weights"].learns
    assert not ARMS["weights"].skills


class Sleeper:
    """A gateway as `playing` opens one, that is never asked anything."""

    stretches: ClassVar[list[str]] = []

    def __init__(self, folder: Path, settings: object, *, fresh: bool, stretch: str) -> None:
        self.stretches.append(stretch)
        self.folder, self.url, self.token, self.model_name = folder, "", "", "m"

    async def __aenter__(self) -> Sleeper:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


@dataclass
class House:
    """What was `done`, in order: `ARM DAY`, `night`. So many nights are `cut` short."""

    plan: Plan
    days: Workdays
    done: list[str]
    cut: int = 0

    async def night(self, _: object) -> None:
        if self.cut:
            self.cut -= 1
            raise asyncio.CancelledError
        self.done.append("night")

    async def play(self, *arms: str) -> None:
        await playing.play(replace(self.plan, arms=arms), self.days, Console(quiet=True))


@pytest.fixture
def house(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, days: Workdays) -> House:
    plan = replace(plan_for(tmp_path, "http://127.0.0.1:9/v1", days=3), night_every=2)
    made = House(plan, days.cut(3, 2), [])

    @dataclass
    class Player:
        arm: Arm
        file: RunFile

        async def play(self, day: Day) -> None:
            made.done.append(f"{self.arm.name} {day.number}")
            for question in day.questions:
                self.file.add(record_of(question, question.unanswered(), [], "", 0.0, ""))

    Sleeper.stretches.clear()
    monkeypatch.setattr(playing, "OwnGateway", Sleeper)
    monkeypatch.setattr(playing, "night", made.night)
    monkeypatch.setattr(playing, "_player", lambda _plan, _course, arm, _client, file, _sandbox: Player(arm, file))
    return made


async def test_a_night_that_was_stopped_comes_before_the_next_day_and_none_comes_twice(house: House) -> None:
    house.cut = 1
    with pytest.raises(MetaClawError, match="Stopped"):
        await house.play("both")
    assert house.done == ["both 1", "both 2"]
    await house.play("both")
    await house.play("both")
    assert house.done == ["both 1", "both 2", "night", "both 3"]


async def test_a_day_is_a_stretch_of_its_own_where_it_is_played_as_a_whole(house: House) -> None:
    await house.play("both")
    assert Sleeper.stretches == [""], "a question stands for itself"
    house.plan, house.cut = replace(house.plan, mode="agent"), 1
    with pytest.raises(MetaClawError, match="Stopped"):
        await house.play("both")
    await house.play("both", "frozen")
    assert Sleeper.stretches[1:] == ["day1", "day2", "", "", "day3"], "neither a night nor who learns nothing is one"


async def test_an_agents_day_that_is_played_again_begins_with_what_was_known_in_its_morning(
    tmp_path: Path, days: Workdays, scripted: ScriptedUpstream
) -> None:
    plan = replace(plan_for(tmp_path, scripted.url, "skills"), mode="agent")
    course, worker = days.cut(1, 4), scripted.answer
    last = course.questions[-1].prompt

    async def breaks(request: web.Request) -> web.StreamResponse:
        if last in (await request.json())["messages"][-1]["content"]:
            return web.json_response({}, status=500)
        return await worker(request)

    scripted.answer = breaks
    with pytest.raises(MetaClawError, match="The same command goes on"):
        await playing.play(plan, course, Console(quiet=True))
    before = plan.run_file(course, ARMS["skills"]).records
    scripted.answer = worker
    files, _ = await playing.play(plan, course, Console(quiet=True))
    again = files["skills"].records
    assert len(again) == len(before) + 1 == 4
    assert [record.right for record in again[:3]] == [record.right for record in before]
    assert not all(record.right for record in before)


async def test_weights_that_both_has_left_behind_is_refused(house: House) -> None:
    await house.play("both")
    with pytest.raises(MetaClawError, match="`weights` is asked before it, from day 1 on"):
        await house.play("weights")


async def test_weights_and_both_go_on_together(house: House) -> None:
    house.cut = 1
    with pytest.raises(MetaClawError, match="Stopped"):
        await house.play("weights", "both")
    await house.play("weights", "both")
    assert house.done == ["weights 1", "both 1", "weights 2", "both 2", "night", "weights 3", "both 3"]


async def test_a_night_is_over_when_what_it_promoted_serves() -> None:
    def told(job: str, serving: str) -> dict[str, Any]:
        return {"job": {"state": job}, "adapter": {"wanted": "a-2", "serving": serving}}

    left = [told("training", "a-1"), told("done", "a-1"), told("done", "a-1"), told("done", "a-2")]

    class Swapping(GatewayClient):
        async def status(self) -> dict[str, Any]:
            return left.pop(0)

    async with Swapping("http://127.0.0.1:9", "") as client:
        await playing.night(client)
    assert left == []


def test_a_run_file_keeps_what_was_added_and_drops_what_a_crash_cut(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    file = RunFile(path, {"seed": 1})
    file.add(replace(RECORD, rules={"stamp": True}, skills=("a@1",)))
    file.add(replace(RECORD, id="d02q01", day=2))
    with path.open("a") as cut:
        cut.write('{"id": "d02q0')
    again = RunFile(path, {"seed": 1})
    assert again.records == file.records
    again.add_night(1)
    again.forget(2)
    last = RunFile(path, {"seed": 1})
    assert (last.records, last.nights) == (file.records[:1], {1})


def test_a_run_file_of_another_run_is_refused(tmp_path: Path) -> None:
    RunFile(tmp_path / "run.jsonl", {"seed": 1})
    with pytest.raises(MetaClawError, match="another run"):
        RunFile(tmp_path / "run.jsonl", {"seed": 2})


def records(share_right: float) -> list[Record]:
    """Ten days of ten questions, the first so many of each day right."""
    return [
        replace(RECORD, id=f"d{day:02}q{n:02}", day=day, right=n < 10 * share_right,
                event="carry-over" if n == 0 else "", kind="file" if n % 2 else "choice",
                rules={"stamp": n < 10 * share_right})
        for day in range(1, 11) for n in range(10)
    ]  # fmt: skip


def test_measures_and_their_intervals() -> None:
    found = metrics.share("right", {1: records(0.3), 2: records(0.5)})
    assert found is not None
    assert (found.value, found.n) == (0.4, 200)
    assert found.ci95[0] <= 0.4 <= found.ci95[1]
    carried = metrics.share("carry_over", {1: records(0.3)})
    assert carried is not None
    assert (carried.value, carried.n) == (1.0, 9)
    assert metrics.share("right", {}) is None
    assert metrics.by_day({1: records(0.3)})[4] == 0.3
    assert metrics.by_rule({1: records(0.3)}) == {"stamp": {"held": 0.2, "n": 50}}


def test_arms_are_compared_on_the_questions_that_both_have() -> None:
    better, base = {1: records(0.6)}, {1: records(0.3)[:50]}
    found = metrics.compared("right", better, base)
    assert found == {"n": 50, "difference": 0.3, "difference_ci95": [0.3, 0.3], "ratio": 2.0, "ratio_ci95": [2.0, 2.0]}
    assert metrics.compared("right", better, {2: records(0.3)}) is None


def test_checks_hold_or_fall_short_by_their_bars() -> None:
    def against(ratio: float | None, low: float) -> dict[str, dict[str, object] | None]:
        return {"right": {"ratio": ratio, "difference": 0.1, "difference_ci95": [low, 0.2]}}

    good = make_checks({"skills": against(1.5, 0.01), "both": against(2, 0.01), "placebo": against(1, -0.1)})
    assert all(check.holds for check in good.values())
    poor = make_checks({"skills": against(1.2, 0.01), "both": against(2, 0), "placebo": against(2, 0.1)})
    assert len(poor) == 3
    assert not any(check.holds for check in poor.values())
    from_nothing = make_checks({"skills": against(None, 0.02), "both": against(None, 0.0)})
    assert [check.holds for check in from_nothing.values()] == [True, False]
    assert make_checks({"skills": {"right": None}})["skills_relative_gain"].value is None


def test_the_curve_is_smoothed_over_days() -> None:
    assert smooth({1: 0.0, 2: 0.3, 3: 0.6, 4: 1.0}) == [(2.0, pytest.approx(0.3)), (4.0, 1.0)]
