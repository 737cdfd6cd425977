"""What may train: proven turns only, support never, whole sessions on one side, and a reason for every turn."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metaclaw.context.compose import OPENING, compose
from metaclaw.signals.combine import Outcome
from metaclaw.training.dataset import Dataset, build, lines, manifest_lines
from metaclaw.types import Check, ToolCall, ToolUse, Turn
from support import has_skill, make_skill, make_turn

BLOCK = compose([make_skill()], 800).text
PROVEN, UNDECIDED, FAILED, SILENT = (Outcome(value, ()) for value in (1.0, 0.1, -1.0, None))
SPLITS = ("train", "query", "replay", "retention")

CASES = st.lists(
    st.tuples(
        st.integers(0, 7),  # session
        st.sampled_from([(), ("a@1",), ("a@1", "b@2")]),
        st.sampled_from([PROVEN, PROVEN, PROVEN, UNDECIDED, FAILED, SILENT]),
        st.sampled_from([False, False, True]),  # support
        st.sampled_from(["notes.md", "notes.md", "  "]),
    ),
    max_size=40,
)


def skilled(number: int, **changes: Any) -> Turn:
    return make_turn(id=f"t{number}", session=f"s{number}", skills=("a@1",), injected=BLOCK, **changes)


def built(
    turns: list[Turn], support: frozenset[str] = frozenset(), outcome: Outcome = PROVEN, most: int = 99
) -> Dataset:
    return build(turns, support, lambda _: outcome, lambda _: None, most)


def split_ids(data: Dataset) -> dict[str, list[str]]:
    parts = (data.train, data.query, data.replay, data.retention)
    return {name: [example.turn_id for example in part] for name, part in zip(SPLITS, parts, strict=True)}


@given(CASES, st.integers(1, 30))
def test_whatever_the_journal_holds(
    cases: list[tuple[int, tuple[str, ...], Outcome, bool, str]], most_train: int
) -> None:
    turns, outcomes, support = [], {}, set()
    for number, (session, skills, outcome, supports, reply) in enumerate(cases):
        turn = make_turn(id=f"t{number}", session=f"s{session}", skills=skills, reply=reply, generation=3)
        turns.append(turn)
        outcomes[turn.id] = outcome
        support |= {turn.id} if supports else set()
    data = build(turns, frozenset(support), lambda turn: outcomes[turn.id], lambda _: None, most_train)
    used = {turn_id for ids in split_ids(data).values() for turn_id in ids}

    assert not used & support
    assert used <= outcomes.keys()
    assert all(outcomes[turn_id] is PROVEN for turn_id in used)
    assert len(data.train) <= most_train
    assert [entry.turn_id for entry in data.manifest] == [turn.id for turn in turns]
    assert all(entry.reason and entry.generation == 3 for entry in data.manifest)
    for split, ids in split_ids(data).items():
        assert ids == [entry.turn_id for entry in data.manifest if entry.split == split]
    learned = {entry.session for entry in data.manifest if entry.split in ("train", "replay")}
    tested = {entry.session for entry in data.manifest if entry.split in ("query", "retention")}
    assert not learned & tested
    skills_of = {turn.id: turn.skills for turn in turns}
    assert all(skills_of[example.turn_id] for example in (*data.train, *data.query))
    assert not any(skills_of[example.turn_id] for example in (*data.replay, *data.retention))


def test_what_stays_out_is_told_why() -> None:
    turns = [skilled(1), skilled(2, reply=" ")]
    assert built(turns, support=frozenset({"t1"})).manifest[0].reason == "support of a skill"
    assert built(turns).manifest[1].reason == "no text to learn from"
    assert {entry.reason for entry in built(turns, outcome=SILENT).manifest} == {"no signal"}
    called = ToolCall("a@1", "{}", "5", ok=True, milliseconds=1.0)
    ran, offered = skilled(3, tools=ToolUse(("a@1",), (called,))), skilled(4, tools=ToolUse(("a@1",)))
    assert [entry.reason for entry in built([ran, offered]).manifest] == [
        "a code skill was run for it", "proven by its signals"
    ]
    for outcome in (FAILED, UNDECIDED):
        entries = built(turns, outcome=outcome).manifest
        assert {(entry.split, entry.reason) for entry in entries} == {
            ("out", "its signals do not say that it went well"),
        }


def test_every_fourth_session_with_skills_and_every_second_without_is_held_out() -> None:
    turns = [skilled(number) for number in range(8)]
    turns += [make_turn(id=f"p{number}", session=f"p{number}") for number in range(4)]
    assert split_ids(built(turns)) == {
        "train": ["t0", "t1", "t2", "t4", "t5", "t6"], "query": ["t3", "t7"],
        "replay": ["p0", "p2"], "retention": ["p1", "p3"],
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
    data = build([skilled(1), skilled(2)], frozenset(), lambda _: PROVEN, lambda _: check, 99)
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
