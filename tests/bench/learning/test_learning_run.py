"""The whole benchmark on a scripted gateway that learns what it is told: plumbing, resumption and figures."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from metaclaw.bench.demo.workload import Task
from metaclaw.bench.learning import playing, report
from metaclaw.bench.learning.run import Plan, main
from metaclaw.bench.learning.stream import Size, stream
from metaclaw.bench.report.committed import read
from metaclaw.bench.report.pictures import by_day
from metaclaw.errors import MetaClawError

SIZE = Size(work=2, plain=1, exam=1)


class Pupil:
    """A gateway in miniature. Skills: kinds that were corrected; weights: the skills of the last night."""

    def __init__(self, folder: Path, settings: dict[str, Any], *, fresh: bool = True) -> None:
        self.trains = settings["training"]["enabled"]
        self.forgets = settings["training"].get("objective") == "sft"
        self.data = folder
        self.state: dict[str, dict[str, int]] = {"skills": {}, "weights": {}}
        folder.mkdir(parents=True, exist_ok=True)
        if not fresh:
            self.state = json.loads((folder / "state.json").read_text())
        self.token, self.asked, self.url = "mc-x", 0, ""
        self.turns: dict[str, tuple[str, int]] = {}
        self.nights = 0
        PUPILS.append(self)

    async def __aenter__(self) -> Pupil:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self.answer)
        app.router.add_post("/v1/feedback", self.feedback)
        app.router.add_get("/v1/metaclaw/status", self.status)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self.runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        (self.data / "state.json").write_text(json.dumps(self.state))
        await self.runner.cleanup()

    async def answer(self, request: web.Request) -> web.Response:
        self.asked += 1
        if self.asked > BREAKS[0]:
            BREAKS[0] = 10**9
            raise web.HTTPInternalServerError
        prompt = (await request.json())["messages"][-1]["content"]
        known = self.state["weights" if request.headers.get("x-metaclaw-skills") == "off" else "skills"]
        kind, answers = TASKS[prompt]
        if kind == "plain" and not (self.forgets and self.state["weights"]):
            text = answers[0]
        else:
            text = answers[known[kind]] if kind in known else "no idea"
        turn = f"turn-{self.asked}"
        self.turns[turn] = kind, len(answers) - 1
        headers = {"x-metaclaw-turn": turn, "x-metaclaw-policy": "p", "x-metaclaw-skills": ""}
        body = {"choices": [{"message": {"content": text}}], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}
        return web.json_response(body, headers=headers)

    async def feedback(self, request: web.Request) -> web.Response:
        said = await request.json()
        kind, _ = self.turns[said["turn_id"]]
        if said["score"] < 0 and said["text"]:
            new = re.search(r"changed our log|no longer has", said["text"]) is not None
            self.state["skills"][kind] = 1 if new else 0
        return web.json_response({})

    async def status(self, _: web.Request) -> web.Response:
        trainer = {"steps": 3, "tokens": 100, "train_seconds": 2.0, "own_samples": 4}
        job = {"state": "done", "decision": "promoted: better", "trainer": trainer} if self.nights else None
        adapter = {"wanted": None, "serving": None}
        return web.json_response({"learning": "settled", "adapter": adapter, "job": job})

    def night(self) -> str:
        self.nights += 1
        self.state["weights"] = dict(self.state["skills"])
        return playing.RAN


PUPILS: list[Pupil] = []
TASKS: dict[str, tuple[str, list[str]]] = {}
BREAKS = [10**9]


@pytest.fixture(autouse=True)
def school(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 2):
        for day in stream(seed, SIZE):
            for task in (*day.work, *day.exam):
                TASKS[task.prompt] = task.kind, old_and_new(task)
    monkeypatch.setattr(playing, "OwnGateway", Pupil)
    monkeypatch.setattr(playing, "_train", lambda config: PUPILS[-1].night())
    PUPILS.clear()
    BREAKS[0] = 10**9


PLAIN = ["13", "5", "wednesday", "rome", "cold", "white", "july", "4", "children", "12", "earth", "a", "saturday",
         "paris", "small", "green", "april", "2", "mice", "25", "spring", "madrid"]


def old_and_new(task: Task) -> list[str]:
    if task.kind == "plain":
        return [next(answer for answer in PLAIN if re.fullmatch(task.pattern, answer))]
    if found := re.fullmatch(r"\[DONE\] T-(\d+) \| (.*)", task.answer):
        return [task.answer, f"{found[2]} (T-{found[1]}): done"]
    if found := re.fullmatch(r"(.*) \(T-(\d+)\): done", task.answer):
        return [f"[DONE] T-{found[2]} | {found[1]}", task.answer]
    if found := re.fullmatch(r"(?:L=)?(\d)\.?(\d)(?:00mm| m)", task.answer):
        return [f"L={found[1]}{found[2]}00mm", f"{found[1]}.{found[2]} m"]
    return [task.answer]


def plan(folder: Path, seeds: tuple[int, ...] = (1, 2), days: int = 8) -> Plan:
    return Plan(seeds, ("distill", "sft"), days, SIZE, 1, "scripted", folder)


def test_what_was_told_is_known_in_the_evening_and_every_figure_is_written(tmp_path: Path) -> None:
    told = json.loads(main(plan(tmp_path / "runs"), tmp_path, "x").read_text())
    assert told["arms"]["frozen"]["value"] == 0.0
    assert {told["arms"][arm]["value"] for arm in ("skills", "weights", "both")} == {1.0}
    assert told["arms"]["weights"]["n"] == 2 * 4 * SIZE.exam  # four rules are left on the last day
    first, last = (told["by_day"]["weights"][at] for at in (0, -1))
    assert (first["in_force"], first["not_yet"], first["retention"]) == (1.0, 0.0, None)
    assert (last["retention"], last["still_revoked"], last["plain"]) == (1.0, 0.0, 1.0)
    assert told["by_day"]["frozen"][-1]["in_force"] == 0.0
    assert told["objectives"]["sft"]["plain"] == 0.0
    assert told["objectives"]["distill"]["nights"] == told["objectives"]["distill"]["promoted"] == 16
    held = {name: check["holds"] for name, check in told["checks"].items()}
    assert held == {
        "weights keep of skills": True, "points lost on retention": True, "revoked rule still followed": True,
        "seeds": False,
    }


def test_without_an_objective_skills_alone_are_measured(tmp_path: Path) -> None:
    alone = Plan((1, 2), (), 8, SIZE, 1, "scripted", tmp_path / "runs")
    path = main(alone, tmp_path, "x")
    told = json.loads(path.read_text())
    assert path.name == "learning-skills.json"
    assert {name: arm["value"] for name, arm in told["arms"].items()} == {"frozen": 0.0, "skills": 1.0}
    held = {name: check["holds"] for name, check in told["checks"].items()}
    assert held == {"points gained by skills": True, "revoked rule still followed": True, "seeds": False}
    curves = by_day(read(path))
    assert curves.keys() == {"frozen", "skills"}
    exam = [curves["skills"]["by_day"][day] for day in range(1, 9)]
    assert exam[0] < exam[1] < exam[2] == exam[-1] == 1.0  # two rules of five on the first day, all from the third on


def test_a_run_that_broke_off_goes_on_where_it_stood(tmp_path: Path) -> None:
    BREAKS[0] = 30
    with pytest.raises(Exception, match="500"):
        main(plan(tmp_path / "runs", (1,), days=4), tmp_path, "x")
    asked = sum(pupil.asked for pupil in PUPILS)
    told = main(plan(tmp_path / "runs", (1,), days=4), tmp_path, "x").read_text()
    again = sum(pupil.asked for pupil in PUPILS) - asked
    PUPILS.clear()
    whole = main(plan(tmp_path / "other", (1,), days=4), tmp_path, "x").read_text()
    assert asked - 1 + again == sum(pupil.asked for pupil in PUPILS), "nothing is asked twice"
    one, two = json.loads(told), json.loads(whole)
    assert (one["arms"], one["checks"]) == (two["arms"], two["checks"])
    PUPILS.clear()
    main(plan(tmp_path / "other", (1,), days=4), tmp_path, "x")
    assert not PUPILS, "what is done is not begun"


def test_the_run_file_of_another_plan_is_refused(tmp_path: Path) -> None:
    main(plan(tmp_path / "runs", (1,), days=1), tmp_path, "x")
    with pytest.raises(MetaClawError, match="is of another run"):
        main(plan(tmp_path / "runs", (1,), days=2), tmp_path, "x")


def test_a_night_without_a_training_counts_for_no_promotion() -> None:
    promoted = {"state": "done", "decision": "promoted: better", "trainer": {"steps": 3}}
    nights = [
        playing.Line("1/night", 1, "night", note={"said": playing.RAN, **promoted}),
        playing.Line("2/night", 2, "night", note={"said": "There is too little to learn from.", **promoted}),
    ]
    _, _, told = report.figures({(1, "distill"): nights}, {1: stream(1, SIZE, 2)}, ["distill"])
    found = told["objectives"]["distill"]
    assert (found["nights"], found["promoted"], found["steps"]) == (2, 1, 3)
    assert found["decisions"] == ["promoted: better", "There is too little to learn from."]
