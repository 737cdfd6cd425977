"""The pipeline's course: retries, gates, pivots; and the whole bench on real gateways before a scripted researcher."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from aiohttp import web
from rich.console import Console

from metaclaw.bench.client import Completion
from metaclaw.bench.research import pipeline as pipeline_of
from metaclaw.bench.research import run as research
from metaclaw.bench.research import score
from metaclaw.bench.research.pipeline import Execution, Pipeline, Run
from metaclaw.bench.research.run import Plan, StudyFile, make_checks
from metaclaw.bench.research.stage import Stage
from metaclaw.bench.research.stages import BY_NAME, STAGES
from metaclaw.bench.research.study import Study
from metaclaw.bench.research.topics import HELD_OUT, LEARNED_ON, TOPICS, Topic
from metaclaw.config.settings import Settings
from metaclaw.errors import MetaClawError
from metaclaw.sandbox import Call, Result
from upstream_server import ScriptedUpstream, completion, upstream, whole

HOLDS = next(topic for topic in TOPICS if topic.claim_holds)
WRONG = next(topic for topic in TOPICS if not topic.claim_holds)
Answers = Callable[[Stage, Study, str], Mapping[str, Any]]


class OwnPython:
    """Runs the bench's own programs here; a model's run in the sandbox, which has its own tests."""

    async def run(self, call: Call) -> Result:
        names: dict[str, Any] = {}
        exec(call.code, names)  # noqa: S102 - our own, or this test's
        return Result(True, names[call.function](**call.arguments), "", "", 0.0, "here")


class Scripted:
    """Answers by a function of the stage, the study and the whole conversation; keeps what it heard."""

    def __init__(self, answers: Answers) -> None:
        self.answers, self.heard, self.sessions = answers, list[str](), set[str]()
        self.pipeline: Pipeline | None = None

    async def ask(self, prompt: str, schema: Mapping[str, Any], session: str) -> Completion:
        self.sessions.add(session)
        assert self.pipeline
        answer = self.answers(stage_of(prompt), self.pipeline.study, prompt)
        return Completion({"content": json.dumps(answer)}, "stop", "turn", "model", (), 10, 5, 0.0)

    async def tell(self, turn_id: str, reasons: str) -> None:
        self.heard.append(reasons)


def stage_of(asked: str) -> Stage:
    found = re.search(r"Stage \d+ of \d+, ([a-z ]+)\.", asked)
    assert found
    return BY_NAME[found[1]]


def knows(stage: Stage, study: Study, asked: str) -> Mapping[str, Any]:
    """The worked answer where all rules of the stage stand in the conversation; else nothing."""
    return stage.worked(study) if all(rule.says in asked for rule in stage.rules) else {}


def oracle(stage: Stage, study: Study, asked: str) -> Mapping[str, Any]:
    return stage.worked(study)


async def played(topic: Topic, answers: Answers) -> tuple[Run, Scripted]:
    model = Scripted(answers)
    pipeline = Pipeline(topic, "one-session", model, OwnPython())
    model.pipeline = pipeline
    return await pipeline.play(), model


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.slug)
async def test_whoever_knows_the_contracts_is_never_sent_back(topic: Topic) -> None:
    run, model = await played(topic, oracle)
    assert score.composite(run) == score.completion(run) == score.first_try(run) == 1
    assert [run.pivots, run.needed_pivots] == ([0, 0] if topic.claim_holds else [1, 1])
    assert set(model.heard) == {""}
    assert model.sessions == {"one-session"}


async def test_whoever_answers_nothing_gets_no_stage_done_and_comes_to_an_end() -> None:
    run, _ = await played(HOLDS, lambda stage, study, asked: {})
    assert score.composite(run) == pytest.approx(0.3 * score.refine_efficiency(run))
    assert (score.completion(run), score.retry_efficiency(run)) == (0, 0)
    assert sum(execution.sent_back for execution in run.executions) == 6


async def test_whoever_listens_needs_one_retry_a_stage_and_one_cycle_a_gate() -> None:
    run, model = await played(HOLDS, knows)
    assert score.completion(run) == 1
    gates = [stage for stage in STAGES if stage.back_to]
    assert score.cycles(run) == len(gates) == 3
    once = [execution.attempts for execution in run.executions if not BY_NAME[execution.stage].back_to]
    assert set(once) == {2}
    rejected = [told for told in model.heard if told]
    assert all(told.startswith("Stage ") for told in rejected)
    assert all(rule.says in " ".join(rejected) for stage in STAGES for rule in stage.rules)


async def test_a_pivot_does_hypotheses_analysis_and_decision_again_with_the_opposite_claim() -> None:
    run, _ = await played(WRONG, oracle)
    names = [execution.stage for execution in run.executions]
    place = names.index("decision")
    assert names[place : place + 5] == ["decision", "hypotheses", "analysis", "decision", "outline"]


async def test_a_study_that_keeps_turning_round_is_let_go_on_after_two_pivots() -> None:
    def dithers(stage: Stage, study: Study, asked: str) -> Mapping[str, Any]:
        worked = stage.worked(study)
        return {**worked, "decision": "pivot"} if stage.name == "decision" else worked

    run, _ = await played(WRONG, dithers)
    assert run.executions[-1].stage == "citations"
    assert run.pivots <= 2


@pytest.mark.parametrize(
    "code",
    [
        "def measure(seed):\n    return {'candidate': 1}",
        "def measure(seed):\n    return {'candidate': 1, 'baseline': float('inf'), 'ablation': 0}",
        "import time\ndef measure(seed):\n    now = time.time_ns()\n"
        "    return {'candidate': now, 'baseline': now, 'ablation': now}",
        "def measure(seed):\n    return [seed]",
        "def measure(seed):\n    return {'candidate': 'a', 'baseline': 1, 'ablation': 0}",
    ],
)
async def test_code_that_measures_nothing_is_rejected(code: str) -> None:
    def writes(stage: Stage, study: Study, asked: str) -> Mapping[str, Any]:
        return {"code": code} if stage.name == "code" else stage.worked(study)

    run, model = await played(HOLDS, writes)
    by_name = {execution.stage: execution for execution in run.executions}
    assert (by_name["code"].accepted, by_name["code"].attempts) == (False, 3)
    assert by_name["analysis"].accepted, "the bench's own program takes its place"
    assert "runs for each seed" in " ".join(model.heard)


def execution(stage: str, attempts: int = 1, accepted: bool = True, sent_back: bool = False) -> Execution:
    return Execution(stage, attempts, accepted, sent_back)


def test_scores_are_what_they_are_by_hand() -> None:
    rows = [execution(stage.name) for stage in STAGES]
    rows[0] = execution("topic", attempts=3, accepted=False)
    rejected = execution("screening", accepted=False, sent_back=True)
    gate = [rejected, execution("collection", attempts=2), execution("screening")]
    run = Run("x", (*rows[:4], *gate, *rows[5:]), 1, 0)
    assert score.completion(run) == pytest.approx(22 / 23)
    assert score.retries(run) == 3
    assert score.retry_efficiency(run) == pytest.approx(1 - 3 / (2 * 21))  # 20 stages are no gates, one came twice
    assert score.cycles(run) == 2
    assert score.refine_efficiency(run) == pytest.approx(1 - 2 / 8)
    assert score.composite(run) == pytest.approx(0.4 * 22 / 23 + 0.3 * (1 - 3 / 42) + 0.3 * 0.75)


def test_gains_are_taken_over_the_topics_that_both_have() -> None:
    perfect = Run("a", tuple(execution(stage.name) for stage in STAGES), 0, 0)
    half = Run("a", tuple(execution(stage.name, 3, False) for stage in STAGES), 0, 0)
    found = score.gain("composite", [perfect], [half])
    assert found
    assert found[0] == pytest.approx(1 / score.composite(half) - 1, abs=1e-4)
    assert score.gain("composite", [perfect], []) is None
    checks = make_checks({"frozen": [half], "skills": [perfect]})
    assert checks["skills_gain_of_composite"].holds
    assert not checks["held_out_topics"].holds
    assert not make_checks({"frozen": [perfect], "skills": [half]})["skills_gain_of_composite"].holds


def test_a_run_file_goes_on_after_a_crash_and_refuses_another_run(tmp_path: Path) -> None:
    run = Run("a", (execution("topic", 2), execution("citations")), 1, 1)
    StudyFile(tmp_path / "f.jsonl", {"arm": "skills"}).add(run)
    with (tmp_path / "f.jsonl").open("a") as cut:
        cut.write('{"topic": "b", "exec')
    assert StudyFile(tmp_path / "f.jsonl", {"arm": "skills"}).runs == {"a": run}
    with pytest.raises(MetaClawError, match="another run"):
        StudyFile(tmp_path / "f.jsonl", {"arm": "frozen"})


def test_unknown_arms_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetaClawError, match="no arm thawed"):
        Plan(("thawed",), 6, 6, None, None, tmp_path)


def test_a_run_that_learned_on_fewer_studies_is_another_run(tmp_path: Path) -> None:
    few, all_of_them = (Plan(("frozen", "skills"), number, 6, None, None, tmp_path) for number in (1, 6))
    few.study_file("skills")
    few.study_file("frozen").add(Run(HELD_OUT[0].slug, (), 0, 0))
    with pytest.raises(MetaClawError, match="another run"):
        all_of_them.study_file("skills")
    assert all_of_them.study_file("frozen").runs, "it learns on none"


@pytest.mark.parametrize("arm", research.ARMS)
def test_what_is_held_out_is_answered_by_what_the_night_promoted(arm: str, tmp_path: Path) -> None:
    settings = Settings.model_validate(Plan((arm,), 6, 6, None, "m", tmp_path).settings(arm))
    assert settings.serving.canary_share == 0
    assert settings.training.enabled == (arm == "both")


class Resting:
    """A gateway that is never asked anything."""

    stretches: ClassVar[list[str]] = []

    def __init__(self, folder: Path, settings: object, *, fresh: bool, stretch: str) -> None:
        self.stretches.append(stretch)
        self.folder, self.url, self.token, self.model_name = folder, "", "", "m"

    async def __aenter__(self) -> Resting:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self

    async def __aexit__(self, *_: object) -> None:
        pass


async def test_the_night_comes_once_also_where_a_run_stops_among_the_held_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    async def night(_: object) -> None:
        done.append("night")

    @dataclass
    class Played:
        topic: Topic
        session: str
        asker: object
        sandbox: object

        async def play(self) -> Run:
            if len(done) == 3:
                done.append("stopped")
                raise TimeoutError
            done.append(self.topic.slug)
            return Run(self.topic.slug, (execution("topic"),), 0, 0)

    Resting.stretches.clear()
    monkeypatch.setattr(research, "OwnGateway", Resting)
    monkeypatch.setattr(research, "Pipeline", Played)
    monkeypatch.setattr(research, "night", night)
    plan = Plan(("both",), 1, 2, None, "m", tmp_path / "runs")
    with pytest.raises(MetaClawError, match="The same command goes on"):
        await research.run(plan, tmp_path, Console(quiet=True))
    await research.run(plan, tmp_path, Console(quiet=True))
    held_out = [topic.slug for topic in HELD_OUT[:2]]
    assert done == [LEARNED_ON[0].slug, "night", held_out[0], "stopped", held_out[1]]
    assert Resting.stretches == [LEARNED_ON[0].slug, "", ""], "only what is learned from is taken back"


class Researcher:
    """An upstream: a researcher who follows the rules that stand in the request, skills included."""

    def __init__(self) -> None:
        self.pipeline: Pipeline | None = None
        self.bodies: list[Mapping[str, Any]] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        self.bodies.append(body)
        asked = "\n".join(message["content"] for message in body["messages"])
        if "pipeline" not in asked or self.pipeline is None:
            return await whole(completion("[]"))(request)
        answer = follows(stage_of(asked), self.pipeline.study, asked)
        return await whole(completion(json.dumps(answer)))(request)


def follows(stage: Stage, study: Study, asked: str) -> Mapping[str, Any]:
    """The worked answer where the first words of each rule stand in the request: a skill may shorten what follows."""
    return stage.worked(study) if all(rule.says[:30] in asked for rule in stage.rules) else {}


@pytest.fixture
async def researcher(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[tuple[Researcher, ScriptedUpstream]]:
    model = Researcher()

    class Watched(Pipeline):
        def __post_init__(self) -> None:
            super().__post_init__()
            model.pipeline = self

    monkeypatch.setattr(research, "Pipeline", Watched)
    async with upstream(model) as opened:
        yield model, opened


async def test_what_one_study_was_told_helps_the_next(
    researcher: tuple[Researcher, ScriptedUpstream], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Plumbing, with a scripted model and a handful of stages: real gateways, the real learner, the real sandbox."""
    few = ("topic", "decomposition", "search strategy", "run", "outline", "export")
    monkeypatch.setattr(pipeline_of, "STAGES", tuple(stage for stage in STAGES if stage.name in few))
    model, provider = researcher
    plan = Plan(("frozen", "skills"), 1, 1, provider.url, "researcher", tmp_path / "runs")
    await research.run(plan, tmp_path / "results", Console(quiet=True))
    result = json.loads((tmp_path / "results" / "research.json").read_text())

    assert result["command"] == (
        f"metaclaw bench research --arms frozen,skills --learned-on 1 --held-out 1 --upstream {provider.url}"
        " --model researcher"
    )
    held = result["details_by_half"]["held_out"]
    assert held["skills"]["first_try"]["value"] > held["frozen"]["first_try"]["value"]
    assert result["arms"]["skills"]["value"] > result["arms"]["frozen"]["value"]
    assert result["by_stage"]["outline"]["frozen"] == 0
    asked = len(model.bodies)
    await research.run(plan, tmp_path / "results", Console(quiet=True))
    assert len(model.bodies) == asked, "what is played is not played again"
    files = {arm: plan.study_file(arm) for arm in plan.arms}
    assert set(files["frozen"].runs) == {HELD_OUT[0].slug}
    assert set(files["skills"].runs) == {LEARNED_ON[0].slug, HELD_OUT[0].slug}
    assert skills_of(files["skills"].runs[HELD_OUT[0].slug].executions)
    assert not skills_of(files["frozen"].runs[HELD_OUT[0].slug].executions)


def skills_of(executions: Sequence[Execution]) -> set[str]:
    return {skill for execution in executions for skill in execution.skills}
