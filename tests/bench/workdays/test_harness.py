"""Both harnesses against a gateway, with a scripted worker who keeps to the rules that his prompt tells him."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from metaclaw.bench.client import Completion, GatewayClient
from metaclaw.bench.workdays.agent import MAX_STEPS, Agent
from metaclaw.bench.workdays.arms import ARMS, BUDGET_CHARACTERS, KITCHEN, context_of, feedback_log
from metaclaw.bench.workdays.course import Score
from metaclaw.bench.workdays.generate import Day, Workdays, generate
from metaclaw.bench.workdays.outcome import feedback_of, heard, record_of
from metaclaw.bench.workdays.questions import ChoiceQuestion, FileQuestion
from metaclaw.bench.workdays.runfile import RunFile
from metaclaw.bench.workdays.single import SingleShot, files_in, score_reply
from metaclaw.bench.workdays.writing import write
from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.sandbox import Sandbox
from metaclaw.signals.checks import passes
from metaclaw.types import Check
from office_worker import OfficeWorker
from running_gateway import TOKEN, Door, serving, stored_turns


@pytest.fixture(scope="module")
def days() -> Workdays:
    return generate(1)


def short(day: Day, questions: int = 4) -> Day:
    return dataclasses.replace(day, questions=day.questions[:questions])


@asynccontextmanager
async def office(folder: Path, days: Workdays) -> AsyncIterator[tuple[Door, GatewayClient, OfficeWorker]]:
    worker = OfficeWorker(days)
    async with serving(folder / "home") as door, GatewayClient(door.gateway.url, TOKEN) as client:
        door.upstream.answer = worker
        yield door, client, worker


def run_file(folder: Path, arm: str) -> RunFile:
    return RunFile(folder / f"{arm}.jsonl", {"arm": arm})


def test_json_that_is_not_set_out_as_a_text_is_a_file_only_where_no_rule_asks_how(days: Workdays) -> None:
    answer = {"filename": "a.json", "content": {"b": ["ö"]}, "more": [{"filename": "c.txt", "content": "d"}]}
    assert files_in(answer) == {"c.txt": "d"}
    assert files_in(answer, json_as_json=True) == {"a.json": '{\n  "b": [\n    "ö"\n  ]\n}', "c.txt": "d"}
    assert not days.json_as_json


async def test_who_is_told_the_rules_has_everything_and_who_is_not_has_nothing(days: Workdays, tmp_path: Path) -> None:
    day = days.days[16]
    async with office(tmp_path, days) as (_, client, _worker):
        shares = {}
        for arm in ("frozen", "handwritten", "placebo"):
            file = run_file(tmp_path, arm)
            await SingleShot(days, ARMS[arm], client, file).play(day)
            files = [record.right for record in file.records if record.kind == "file"]
            shares[arm] = sum(files) / len(files)
    assert shares["handwritten"] == 1
    assert shares["frozen"] == shares["placebo"] < 0.5


async def test_what_is_only_measured_is_never_learned_from(days: Workdays, tmp_path: Path) -> None:
    async with office(tmp_path, days) as (door, client, _worker):
        await SingleShot(days, ARMS["frozen"], client, run_file(tmp_path, "frozen")).play(short(days.days[2]))
        turns = stored_turns(door.store)
    assert {turn.kind.value for turn in turns} == {"side"}
    assert all(not turn.injected for turn in turns)


async def test_a_learning_arm_posts_its_feedback_before_the_next_question(days: Workdays, tmp_path: Path) -> None:
    async with office(tmp_path, days) as (door, client, _worker):
        async with NotingClient(client.url, TOKEN) as noting:
            await SingleShot(days, ARMS["skills"], noting, run_file(tmp_path, "skills")).play(short(days.days[2]))
        turns = stored_turns(door.store)
    assert {turn.kind.value for turn in turns} == {"main"}
    assert len({turn.session for turn in turns}) == len(turns)
    assert noting.calls == ["complete", "feedback"] * 4


class NotingClient(GatewayClient):
    """Notes the order of calls; says that the learner is through, since these gateways have none."""

    def __init__(self, url: str, token: str) -> None:
        super().__init__(url, token)
        self.calls: list[str] = []

    async def complete(self, body: Mapping[str, Any], headers: Mapping[str, str]) -> Completion:
        self.calls.append("complete")
        return await super().complete(body, headers)

    async def feedback(self, turn_id: str, score: float, text: str = "", pattern: str = "") -> None:
        self.calls.append("feedback")
        await super().feedback(turn_id, score, text, pattern)

    async def status(self) -> dict[str, Any]:
        return {"learning": "settled"}


async def test_a_run_goes_on_where_it_stopped(days: Workdays, tmp_path: Path) -> None:
    day = short(days.days[3])
    async with office(tmp_path, days) as (door, client, _worker):
        await SingleShot(days, ARMS["frozen"], client, run_file(tmp_path, "frozen")).play(short(day, 2))
        again = run_file(tmp_path, "frozen")
        await SingleShot(days, ARMS["frozen"], client, again).play(day)
        assert len(door.upstream.seen) == 4
    assert [record.id for record in again.records] == [question.id for question in day.questions]


async def test_an_agent_works_a_day_in_one_conversation(days: Workdays, tmp_path: Path) -> None:
    day = days.days[5]
    async with office(tmp_path, days) as (door, client, _worker), sandbox() as jail:
        file = run_file(tmp_path, "handwritten")
        await Agent(days, ARMS["handwritten"], client, file, jail).play(day)
        await Agent(days, ARMS["handwritten"], client, file, jail).play(day)  # nothing is left of it
        turns = stored_turns(door.store)
    assert all(record.right for record in file.records)
    assert len(file.records) == len(day.questions)
    assert all(record.requests == (2 if record.kind == "file" else 1) for record in file.records)
    assert len({turn.session for turn in turns}) == 1


async def test_feedback_opens_the_agents_next_question(days: Workdays, tmp_path: Path) -> None:
    day = short(days.days[5], 3)
    async with office(tmp_path, days) as (door, client, _worker), sandbox() as jail:
        await Agent(days, ARMS["frozen"], client, run_file(tmp_path, "frozen"), jail).play(day)
        last = door.upstream.seen[-1].body.decode()
    assert "No, that is not how we do it here." in last


async def test_an_agent_that_never_ends_is_stopped_and_noted(days: Workdays, tmp_path: Path) -> None:
    call = {"id": "c", "type": "function", "function": {"name": "list", "arguments": "{}"}}
    message = {"role": "assistant", "content": None, "tool_calls": [call]}

    async def calls_for_ever(_: web.Request) -> web.StreamResponse:
        return web.json_response({"model": "m", "choices": [{"message": message, "finish_reason": "tool_calls"}]})

    async with office(tmp_path, days) as (door, client, _worker), sandbox() as jail:
        door.upstream.answer = calls_for_ever
        file = run_file(tmp_path, "frozen")
        await Agent(days, ARMS["frozen"], client, file, jail).play(short(days.days[0], 1))
    assert (file.records[0].requests, file.records[0].right) == (MAX_STEPS, False)
    assert "no end" in file.records[0].note


async def test_a_refused_request_is_noted_and_counts_as_wrong(days: Workdays, tmp_path: Path) -> None:
    async def refuses(_: web.Request) -> web.StreamResponse:
        return web.json_response({"error": {"message": "too long", "type": "invalid_request_error"}}, status=400)

    async with office(tmp_path, days) as (door, client, _worker):
        door.upstream.answer = refuses
        file = run_file(tmp_path, "skills")
        await SingleShot(days, ARMS["skills"], client, file).play(short(days.days[0], 1))
    assert "too long" in file.records[0].note
    assert not file.records[0].right


def test_a_reply_that_is_no_json_scores_nothing(days: Workdays) -> None:
    day = days.days[1]
    for question in day.questions:
        for reply in ("", "no", "[]", '{"filename": 1}', '{"letters": "A"}', '{"filename": "../x", "content": "a"}'):
            assert not score_reply(day.files, question, reply).right


def test_the_posted_check_takes_the_right_letters_in_any_order_and_no_others(days: Workdays) -> None:
    question = next(one for one in days.questions if isinstance(one, ChoiceQuestion) and len(one.answer) == 3)
    a, b, c = sorted(question.answer)
    (wrong, *_) = sorted(set(question.letters) - question.answer)
    for letters in ([a, b, c], [c, a, b], [b, b, c, a], [a, b], [a, b, c, wrong], [a, a, a], [wrong]):
        for reply in (json.dumps({"letters": letters}), json.dumps({"letters": letters}, indent=1)):
            score = score_reply({}, question, reply)
            assert passes(Check(question.check(score)), reply) == score.right, letters


def test_a_rule_that_an_incomplete_file_keeps_is_not_corrected_and_no_check_speaks_for_it(days: Workdays) -> None:
    judged = 0
    for day in days.days[:20]:
        for question in day.questions:
            if isinstance(question, FileQuestion) and question.document.edit is None:
                reply = without(question.document.items[-1][0], question, day)
                score = score_reply(day.files, question, reply)
                said, check = feedback_of(days, ARMS["skills"], question, score, reply)
                assert not score.complete
                assert not check or passes(Check(check), reply) is False
                kept = [rule for rule in question.rules if rule.family not in ("order", "delimiter")]
                assert all(score.rules[rule.family] for rule in kept)
                assert not any(rule.says in said for rule in kept)
                judged += len(kept)
    assert judged > 50


def without(item: str, question: FileQuestion, day: Day) -> str:
    """A reply that keeps to every rule of the house, and leaves one item of the list out."""
    (path, text), *rest = write(question.document, question.house, day.files).items()
    if question.document.format == "json":
        text = text.replace(item, "thing")
    text = "\n".join(line for line in text.split("\n") if item not in line)
    return json.dumps({
        "filename": path, "content": text, "more": [{"filename": p, "content": t} for p, t in rest]
    }, ensure_ascii=False)


def test_a_check_that_sees_less_than_the_score_is_left_out(days: Workdays) -> None:
    day = days.days[1]
    question = next(one for one in day.questions if isinstance(one, FileQuestion) and one.rules)
    (path, text), *_ = write(question.document, question.house, day.files).items()
    reply = json.dumps({"filename": f"{path}.doc", "content": text}, ensure_ascii=False)  # its words, in no such file
    score = score_reply(day.files, question, reply)
    assert passes(Check(question.check(score)), reply)
    said, check = feedback_of(days, ARMS["skills"], question, score, reply)
    assert (score.right, check) == (False, "")
    assert said.startswith("No")


def test_the_placebo_is_as_long_as_the_rules_and_says_nothing_of_them(days: Workdays) -> None:
    for question in days.days[40].questions:
        rules = context_of(ARMS["handwritten"], days, question, [])
        placebo = context_of(ARMS["placebo"], days, question, [])
        assert len(placebo) == len(rules)
        assert any(line[:30] in placebo for line in KITCHEN)
        assert not any(rule.says in placebo for rule in question.rules)


def test_handwritten_rules_never_hold_the_answer_of_a_file_question(days: Workdays) -> None:
    """Their examples come from another year; a rule whose form has few values may show one of them by chance."""
    dated = ("stamp", "day", "naming", "worklog", "folder")
    for question in days.questions:
        if isinstance(question, FileQuestion):
            for rule in question.rules:
                if rule.family in dated[:3] and not rule.revoked:
                    assert rule.show(question.document) not in context_of(ARMS["handwritten"], days, question, [])


def test_the_feedback_log_keeps_the_newest_that_fit() -> None:
    text = feedback_log([(f"question {number}", f"No, {number} " + "x" * 300) for number in range(40)])
    assert len(text) <= BUDGET_CHARACTERS + 100
    assert "No, 39" in text
    assert "No, 0 " not in text
    assert feedback_log([]) == ""


def test_praise_is_nothing_for_the_feedback_log_whatever_its_words(days: Workdays) -> None:
    asked = days.days[0].questions[:2]
    records = [
        record_of(one, Score(right, float(right), right), [], said, 0.0, "")
        for one, right, said in zip(asked, (True, False), ("Well formed.", "Not so."), strict=True)
    ]
    assert heard(days, records) == [(asked[1].prompt, "Not so.")]


@asynccontextmanager
async def sandbox() -> AsyncIterator[Sandbox]:
    opened = Sandbox(SandboxSettings(engine="strong"))
    yield opened
    await opened.close()
