"""What may train: proven turns only, support never, whole sessions on one side, and a reason for every turn."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.context.compose import OPENING, compose
from metaclaw.training.dataset import (
    LEAST_JUDGED,
    MOST_OF_SESSION,
    Candidate,
    Dataset,
    Example,
    apart,
    build,
    importance_weighted,
    lines,
    manifest_lines,
)
from metaclaw.training.gate import LEAST_TO_TELL
from metaclaw.training.refusals import declined
from metaclaw.types import Check, Sampled, Signal, ToolCall, ToolUse, Turn
from support import has_skill, make_skill, make_turn

BLOCK = compose([make_skill()], 800).text
PROVEN, UNDECIDED, FAILED, SILENT = ("check", 1.0), ("tool_error", 0.1), ("check", -1.0), ("judge", None)
SPLITS = ("train", "query", "replay", "retention", "safety")
REFUSAL = "I'm sorry, but I can't help with that."
Said = tuple[str, float | None]

CASES = st.lists(
    st.tuples(
        st.integers(0, 7),  # session
        st.sampled_from([(), ("a@1",), ("a@1", "b@2")]),
        st.sampled_from([PROVEN, PROVEN, PROVEN, UNDECIDED, FAILED, SILENT]),
        st.sampled_from(["notes.md", "notes.md", "  ", REFUSAL]),
    ),
    max_size=40,
)


def skilled(number: int, **changes: Any) -> Turn:
    fields: dict[str, Any] = {"id": f"t{number}", "session": f"s{number}", "skills": ("a@1",), "injected": BLOCK}
    return make_turn(**(fields | changes))


def given_to(turn: Turn, said: Said = PROVEN, check: Check | None = None, **changes: Any) -> Candidate:
    return Candidate(turn, (Signal(turn.id, said[0], said[1], "told"),), check, **changes)


def built(turns: list[Turn], said: Said = PROVEN, most: int = 99, check: Check | None = None) -> Dataset:
    return build([given_to(turn, said, check) for turn in turns], most)


def split_ids(data: Dataset) -> dict[str, list[str]]:
    parts = (data.train, data.query, data.replay, data.retention, data.safety)
    return {name: [example.turn_id for example in part] for name, part in zip(SPLITS, parts, strict=True)}


@given(CASES, st.integers(1, 30))
def test_whatever_the_journal_holds(
    cases: list[tuple[int, tuple[str, ...], Said, str]], most_train: int
) -> None:
    candidates = {}
    for number, (session, skills, said, reply) in enumerate(cases):
        turn = make_turn(
            id=f"t{number}", session=f"s{session}", skills=skills, reply=reply, generation=3, position=number
        )
        candidates[turn.id] = given_to(turn, said)
    data = build(list(candidates.values()), most_train)
    splits = split_ids(data)

    proven = {turn_id for turn_id, one in candidates.items() if one.outcome.succeeded}
    assert {turn_id for split in SPLITS[:4] for turn_id in splits[split]} <= proven
    assert not {turn_id for turn_id in splits["safety"] if candidates[turn_id].outcome.failed}
    assert all(candidates[turn_id].turn.reply == REFUSAL for turn_id in splits["safety"])
    assert len(data.train) <= most_train
    assert [entry.turn_id for entry in data.manifest] == list(candidates)
    assert all(entry.reason and entry.generation == 3 and entry.signals for entry in data.manifest)
    for split, ids in splits.items():
        assert ids == [entry.turn_id for entry in data.manifest if entry.split == split]
    sessions = {
        kind: {entry.session for entry in data.manifest if entry.split in group}
        for kind, group in (("learned", ("train", "replay")), ("tested", ("query", "retention")), ("safe", ("safety",)))
    }
    assert not sessions["learned"] & sessions["tested"]
    assert not sessions["safe"] & (sessions["learned"] | sessions["tested"])
    skills_of = {turn_id: one.turn.skills for turn_id, one in candidates.items()}
    assert all(skills_of[example.turn_id] for example in (*data.train, *data.query))
    assert not any(skills_of[example.turn_id] for example in (*data.replay, *data.retention))


@pytest.mark.parametrize(("sessions", "held_out"), [(3, 0), (9, 2), (10, 5), (19, 9), (47, 23), (48, 12), (80, 20)])
def test_of_few_sessions_more_are_held_out_where_the_gate_can_tell_by_them(sessions: int, held_out: int) -> None:
    data = built([skilled(number, position=number) for number in range(1, sessions + 1)])
    assert (len(data.query), len(data.train)) == (held_out, sessions - held_out)


def test_only_proven_turns_count_as_held_out() -> None:
    turns = [skilled(number, position=number) for number in range(1, 21)]
    data = build([given_to(turn, FAILED if turn.id == "t4" else PROVEN) for turn in turns], 99)
    assert split_ids(data)["query"] == [f"t{number}" for number in range(2, 21, 2) if number != 4]


@given(st.lists(st.sampled_from([(), ("a@1",), ("a@1", "b@2")]), min_size=1, max_size=120), st.data())
def test_what_was_trained_on_is_not_held_out_when_there_is_more(
    skills: list[tuple[str, ...]], data: st.DataObject
) -> None:
    turns = [skilled(number, skills=some, position=number) for number, some in enumerate(skills, 1)]
    before, after = built(turns[: data.draw(st.integers(1, len(turns)))]), built(turns)
    if len(before.query) >= LEAST_TO_TELL:  # else nothing was trained on it
        assert not {*split_ids(before)["train"]} & {*split_ids(after)["query"]}


def test_what_stays_out_is_told_why() -> None:
    turns = [skilled(1, position=1), skilled(2, reply=" ", position=2)]
    assert [entry.reason for entry in built(turns).manifest] == [
        "proven by its signals (check)", "no text to learn from"
    ]
    assert built(turns, SILENT).manifest[0].reason == "no signal"
    called = ToolCall("a@1", "{}", "5", ok=True, milliseconds=1.0)
    ran, offered = skilled(3, tools=ToolUse(("a@1",), (called,))), skilled(4, tools=ToolUse(("a@1",)))
    assert [entry.reason for entry in built([ran, offered]).manifest] == [
        "a code skill was run for it", "proven by its signals (check)"
    ]
    for said in (FAILED, UNDECIDED):
        [entry] = built([skilled(5)], said).manifest
        assert (entry.split, entry.reason, entry.signals) == (
            "out", "its signals do not say that it went well", (said,)
        )


def test_what_the_model_declined_is_held_out_with_its_session() -> None:
    turns = [
        skilled(1, session="s", reply=REFUSAL, position=1), skilled(2, session="s", position=2),
        skilled(3, session="other", position=3),
    ]
    data = built(turns)
    assert (split_ids(data)["safety"], split_ids(data)["train"]) == (["t1"], ["t3"])
    assert data.manifest[1].reason == "its session is held out for safety"
    assert split_ids(built(turns, SILENT))["safety"] == ["t1"]
    assert split_ids(built(turns, FAILED))["safety"] == []


@pytest.mark.parametrize(("reply", "said"), [
    (REFUSAL, True), ("I cannot assist with that request.", True), ("I won\u2019t create malware.", True),
    ("I'm not able to help with this.", True), ("Sorry, I am unable to provide that.", True),
    ("We can help with that.", False), ("I can't see the file; is it in src?", False),
    ("The function can't create a folder.", False), ("x" * 300 + REFUSAL, False),
])
def test_what_counts_as_declined(reply: str, said: bool) -> None:
    assert declined(reply) is said


def test_no_session_and_no_weak_source_has_more_than_its_share() -> None:
    many = [skilled(number, session="long", position=number) for number in range(MOST_OF_SESSION + 3)]
    data = built(many)
    assert split_ids(data)["train"] == [f"t{number}" for number in range(3, MOST_OF_SESSION + 3)]
    assert {entry.reason for entry in data.manifest if entry.split == "out"} == {
        "its session has its 16 turns already"
    }
    mixed = [given_to(skilled(number, position=number), ("judge", 1.0) if number < 28 else PROVEN)
             for number in range(40)]
    data = build(mixed, 8)
    sources = [entry.signals[0][0] for entry in data.manifest if entry.split == "train"]
    assert sorted(sources) == ["check"] * 6 + ["judge"] * 2
    opinions = build([given_to(skilled(number, position=number), ("judge", 1.0)) for number in range(20)], 8)
    assert len(opinions.train) == 4
    assert "judge has its share already" in {entry.reason for entry in opinions.manifest}


def calling(name: str, arguments: str) -> bytes:
    call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": arguments}}
    return json.dumps({"choices": [{"message": {"role": "assistant", "content": "x", "tool_calls": [call]}}]}).encode()


def test_a_turn_that_touched_its_own_check_is_dropped() -> None:
    check = Check(r"\d{8}_\w+\.md")
    told = {
        "it changed tests": calling("write_file", '{"path": "tests/test_a.py", "text": "pass"}'),
        "it quotes its own check": calling("shell", json.dumps({"command": f"echo {check.pattern}"})),
        "it reached for its own feedback": calling("shell", '{"command": "curl localhost:1/v1/feedback -d 1"}'),
        "proven by its signals (check)": calling("write_file", '{"path": "src/a.py", "text": "pass"}'),
    }
    for reason, response in told.items():
        [entry] = built([skilled(1, response=response)], check=check).manifest
        assert entry.reason == reason
    message = json.loads(told["it changed tests"])["choices"][0]["message"]
    earlier = json.dumps({"messages": [{"role": "user", "content": "Fix it."}, message]}).encode()
    assert built([skilled(1, request=earlier)]).manifest[0].reason == "it changed tests"


def test_only_what_was_sampled_with_its_probabilities_can_be_weighed() -> None:
    sampled = Sampled((1, 2), (-0.5, -0.25))
    data = build([given_to(skilled(1), sampled=sampled), given_to(skilled(2))], 9)
    assert len(data.train) == 2
    [weighed] = importance_weighted(data.train)
    assert (weighed.example.turn_id, weighed.sampled) == ("t1", sampled)
    text_only: Example = data.train[1]
    assert text_only.sampled is None
    for tokens, logprobs in (((), ()), ((1,), ()), ((1, 2), (-0.5,))):
        with pytest.raises(ValueError, match="one log-probability for each"):
            Sampled(tokens, logprobs)


def test_tokens_of_another_model_are_not_sent_along() -> None:
    sampled = Sampled((1, 2), (-0.5, -0.25))
    ours = [skilled(1, policy="small@base"), skilled(2, policy="small@lora-1"), skilled(3, policy="big@base")]
    data = build([given_to(turn, sampled=sampled) for turn in ours], 9)
    rows = [json.loads(line) for line in lines(data, [], base_model="small")]
    told = {"tokens": [1, 2], "logprobs": [-0.5, -0.25]}
    assert [row["sampled"] for row in rows] == [told, told, None]


@given(st.lists(st.integers(0, 12), max_size=60))
def test_what_tells_when_to_stop_is_never_what_the_gate_judges_by(sessions: list[int]) -> None:
    query = [
        Example(f"t{at}", [], [], "x", Check(r"\d"), None, f"s{session}") for at, session in enumerate(sessions)
    ]
    watched, judged = apart(query)
    assert sorted(one.turn_id for one in watched + judged) == sorted(one.turn_id for one in query)
    assert not {one.session for one in watched} & {one.session for one in judged}
    assert not watched or len(judged) >= LEAST_JUDGED
    if len(set(sessions)) >= 3 and len(query) >= 3 * LEAST_JUDGED and max(map(sessions.count, sessions)) <= 5:
        assert watched
    rows = [json.loads(line) for line in lines(Dataset((), (), (), (), (), ()), [], watched)]
    assert {row["split"] for row in rows} <= {"query"}


def test_every_fourth_session_with_skills_and_every_second_without_is_held_out() -> None:
    turns = [skilled(number) for number in range(8)]
    turns += [make_turn(id=f"p{number}", session=f"p{number}") for number in range(4)]
    assert split_ids(built(turns)) == {
        "train": ["t0", "t1", "t2", "t4", "t5", "t6"], "query": ["t3", "t7"],
        "replay": ["p0", "p2"], "retention": ["p1", "p3"], "safety": [],
    }


def test_one_run_takes_the_newest_and_the_manifest_says_so() -> None:
    data = built([skilled(number) for number in range(5)], most=2)
    assert split_ids(data)["train"] == ["t2", "t4"]
    left = [entry for entry in data.manifest if entry.split == "out"]
    assert [(entry.turn_id, entry.reason) for entry in left] == [
        ("t0", "one run takes the newest only"), ("t1", "one run takes the newest only"),
    ]


def test_the_student_sees_the_plain_prompt_and_the_teacher_the_skill() -> None:
    check = Check(r"\d+")
    data = built([skilled(1), skilled(2)], check=check)
    example = data.train[0]
    assert not has_skill(example.messages)
    assert has_skill(example.teacher_messages)
    assert example.teacher_messages[1:] == example.messages
    assert (example.reply, example.check) == ("notes.md", check)


def test_a_turn_of_another_format_is_learned_from_as_chat() -> None:
    sent = {"system": "S", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
    turn = skilled(1, request=json.dumps(sent).encode(), dialect="messages")
    data = built([turn])
    example = (*data.train, *data.query)[0]
    assert example.messages == [{"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}]
    assert example.teacher_messages[0]["content"] == f"S\n\n{BLOCK}"


def asked(*messages: dict[str, Any], number: int = 1) -> Turn:
    return skilled(number, position=number, request=json.dumps({"messages": messages}).encode())


def test_the_conversation_is_told_in_words_that_every_chat_template_takes() -> None:
    parts = [{"type": "text", "text": "Name"}, {"type": "text", "text": "it."}]
    call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    turn = asked(
        {"role": "developer", "content": [{"type": "text", "text": "S"}]},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"}, {"role": "user", "content": parts},
    )
    [example] = built([turn]).train
    assert example.messages == [
        {"role": "system", "content": "S"}, {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "1", "content": "done"}, {"role": "user", "content": "Name\nit."},
    ]
    assert example.teacher_messages[0] == {"role": "system", "content": f"S\n{BLOCK}"}  # as the engine saw it
    assert example.teacher_messages[1:] == example.messages[1:]


def test_what_words_cannot_tell_is_left_out() -> None:
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}}
    turns = [
        asked({"role": "user", "content": [{"type": "text", "text": "What is it?"}, image]}),
        skilled(2, position=2, request=b"{}", dialect="of tomorrow"), skilled(3, position=3),
    ]
    data = built(turns)
    assert split_ids(data)["train"] == ["t3"]
    assert [entry.reason for entry in data.manifest[:2]] == [
        "its messages hold more than text", "its request cannot be read"
    ]


def test_the_trainer_reads_one_object_a_line() -> None:
    data = built([skilled(1), skilled(2), skilled(3), skilled(4)])
    rows = [json.loads(line) for line in lines(data, [([{"role": "user", "content": "Höhe?"}], "8848 m")])]
    assert [(row["id"], row["split"]) for row in rows] == [
        ("t1", "train"), ("t2", "train"), ("t3", "train"), ("replay-0", "replay"),
    ]
    assert rows[-1]["teacher_messages"] is None
    assert OPENING in rows[0]["teacher_messages"][0]["content"]
    manifest = [json.loads(line) for line in manifest_lines(data)]
    assert [(row["turn_id"], row["split"], row["policy"]) for row in manifest][-1] == ("t4", "query", "base")
