"""`metaclaw data`: what is exported is redacted and in OpenAI's form; what is forgotten is in no file any more."""

from __future__ import annotations

import asyncio
import io
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from metaclaw.cli.data import app
from metaclaw.cli.main import main
from metaclaw.config.loading import load
from metaclaw.config.settings import Settings
from metaclaw.evolve import rejected
from metaclaw.library.catalog import Catalog
from metaclaw.runtime.home import Home
from metaclaw.serving.routes import Routes
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.training.jobs import Jobs
from metaclaw.training.registry import Registry
from metaclaw.types import Adapter, AdapterState, Signal, Skill, SkillState, Turn, TurnKind, Verdict
from small_adapter import write_adapter
from support import keep, make_feedback, make_skill, make_turn, support_turns

CANARY = "zebra-quartz-9271"
SECRET = "sk-" + "a1b2" * 8
GOOD, BAD = 1.0, -1.0


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Shell:
    """Runs `metaclaw data ARGUMENTS` in this process, in a home of its own."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self.home, self.monkeypatch, self._capsys = home, monkeypatch, capsys
        self.data = home / "data"
        monkeypatch.setenv("HOME", str(home))
        monkeypatch.setenv("METACLAW_DATA_DIR", str(self.data))

    def __call__(self, *arguments: str, typed: str | None = None) -> tuple[int, str, str]:
        self.monkeypatch.setattr(sys, "argv", ["metaclaw", "data", *arguments])
        self.monkeypatch.setattr(sys, "stdin", Terminal(typed) if typed is not None else io.StringIO())
        with pytest.raises(SystemExit) as ended:
            main()
        told = self._capsys.readouterr()
        return int(ended.value.code or 0), told.out, told.err

    def json(self, *arguments: str) -> Any:
        code, out, err = self(*arguments, "--json")
        assert code == 0, err
        return json.loads(out)

    @property
    def settings(self) -> Settings:
        return load(flags={})

    @contextmanager
    def database(self) -> Iterator[Database]:
        with Database(self.data / "metaclaw.db") as database:
            yield database

    def keep(self, *turns: tuple[Turn, float | None]) -> None:
        with self.database() as database:
            asyncio.run(keep(database, *(turn for turn, _ in turns)))
            for turn, value in turns:
                if value is not None:
                    ledger.record(database, "default", [Signal(turn.id, "check", value, "told")])

    def holding(self, text: str) -> list[str]:
        """The files below the data folder that hold `text`."""
        files = [path for path in self.data.rglob("*") if path.is_file()]
        return [str(path.relative_to(self.data)) for path in files if text.encode() in path.read_bytes()]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Shell:
    return Shell(tmp_path, monkeypatch, capsys)


def spoken(query: str, reply: str, *, tools: Any = None, calls: Any = None, before: Any = (), **changes: Any) -> Turn:
    """A turn of the chat format, request and response as they were sent."""
    messages = [*before, {"role": "user", "content": query}]
    asked = {"model": "m", "messages": messages, **({"tools": tools, "temperature": 0} if tools else {})}
    said = {"role": "assistant", "content": reply, "refusal": None, **({"tool_calls": calls} if calls else {})}
    response = json.dumps({"choices": [{"message": said}]}).encode()
    return make_turn(query, reply, request=json.dumps(asked).encode(), response=response, **changes)


def test_every_command_has_json_and_an_example() -> None:
    commands = {c.name or c.callback.__name__: c.callback for c in app.registered_commands if c.callback}
    assert set(commands) == {"sessions", "export", "forget", "backup", "restore"}
    for name, callback in commands.items():
        assert "as_json" in callback.__annotations__, name
        assert f"Example: metaclaw data {name}" in (callback.__doc__ or ""), name


def test_sessions_are_listed_newest_first(shell: Shell) -> None:
    shell.keep(*((spoken(f"Question {n}", "x", session=f"s{n % 2}"), None) for n in range(3)))
    listed = shell.json("sessions")
    assert [(row["session"], row["turns"], row["began"]) for row in listed] == [
        ("s0", 2, "Question 0"), ("s1", 1, "Question 1")
    ]
    assert "Question 1" in shell("sessions")[1]


def test_conversations_that_went_well_are_exported_with_their_tools(shell: Shell) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}, {"type": "web"}]
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    thinking = {"role": "assistant", "content": "Hm.", "reasoning_content": "secret thoughts"}
    shell.keep(
        (spoken("Höhe?", "8848 m", before=[{"role": "user", "content": "Hi"}, thinking]), GOOD),
        (spoken("Look.", "I look.", tools=tools, calls=[call]), GOOD),
        (spoken("Wrong?", "yes"), BAD), (spoken("Unjudged?", "yes"), None),
    )
    code, out, err = shell("export")
    first, second = map(json.loads, out.splitlines())
    assert first == {"messages": [
        {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hm."},
        {"role": "user", "content": "Höhe?"}, {"role": "assistant", "content": "8848 m"},
    ]}
    assert second["tools"] == tools[:1]
    assert second["messages"][-1] == {"role": "assistant", "content": "I look.", "tool_calls": [call]}
    assert set(second) == {"messages", "tools"}
    assert (code, err.splitlines()[0]) == (0, "2 sft examples")
    assert "1 turns left out: no signal" in err


def test_a_conversation_of_another_format_is_exported_as_chat(shell: Shell) -> None:
    asked = {"system": "S", "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]}
    said = {"type": "message", "content": [{"type": "text", "text": "Yo"}], "stop_reason": "end_turn"}
    turn = make_turn("Hi", "Yo", dialect="messages", request=json.dumps(asked).encode(),
                     response=json.dumps(said).encode())
    shell.keep((turn, GOOD))
    [line] = shell("export")[1].splitlines()
    assert json.loads(line) == {"messages": [
        {"role": "system", "content": "S"}, {"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"},
    ]}


def test_pairs_are_the_failure_beside_what_went_well(shell: Shell) -> None:
    wrong = spoken("Name the file.", "notes.md", session="a")
    told = [{"role": "user", "content": "Name the file."}, {"role": "assistant", "content": "notes.md"}]
    right = spoken("No, with the date.", "20260304.md", before=told, session="a")
    same = spoken("Sum?", "4", session="b"), spoken("Sum?", "5", session="c")
    alone = spoken("Alone?", "no", session="d")
    shell.keep((wrong, BAD), (right, GOOD), (same[0], GOOD), (same[1], BAD), (alone, BAD))
    out = shell.home / "pairs.jsonl"
    facts = shell.json("export", "--kind", "preference", "--out", str(out))
    assert facts == {
        "kind": "preference", "examples": 2, "file": str(out),
        "left_out": {"no better reply to the same request is known": 1},
    }
    lines = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert lines[0] == {
        "input": {"messages": [{"role": "user", "content": "Name the file."}]},
        "preferred_output": [{"role": "assistant", "content": "20260304.md"}],
        "non_preferred_output": [{"role": "assistant", "content": "notes.md"}],
    }
    assert (lines[1]["preferred_output"][0]["content"], lines[1]["non_preferred_output"][0]["content"]) == ("4", "5")
    assert out.stat().st_mode & 0o077 == 0


def test_support_and_older_generations_are_exported_only_where_asked_for(shell: Shell) -> None:
    turns = [spoken(f"Question {n}", f"Answer {n}", generation=min(n, 1)) for n in range(3)]
    shell.keep(*((turn, GOOD) for turn in turns))
    with shell.database() as database:
        catalog = Catalog(database, "default", Home(shell.settings).skills)
        catalog.publish(make_skill("a"), SkillState.ACTIVE, "test", [turns[1].id])

    def exported(*flags: str) -> list[str]:
        return [json.loads(line)["messages"][-1]["content"] for line in shell("export", *flags)[1].splitlines()]

    assert exported() == ["Answer 2"]
    assert exported("--with-support") == ["Answer 1", "Answer 2"]
    assert exported("--all-generations") == ["Answer 0", "Answer 2"]
    assert exported("--all-generations", "--with-support") == ["Answer 0", "Answer 1", "Answer 2"]


def test_what_is_exported_is_redacted_whenever_it_was_stored(shell: Shell) -> None:
    shell.keep((spoken(f"My key is {SECRET} now.", f'Set "{SECRET}".'), GOOD), (spoken("Old?", "old"), GOOD))
    assert shell.holding(SECRET) == []
    with shell.database() as database:  # as a version without that pattern would have left it
        unredacted = spoken("Old?", f"It is {SECRET} and token-of-ours-12345.").response
        database.write(lambda c: c.execute("UPDATE turns SET response = ? WHERE query = 'Old?'", (unredacted,)))
    (shell.data / "token").write_text("token-of-ours-12345")
    lines = [json.loads(line) for line in shell("export")[1].splitlines()]
    assert lines[0]["messages"][0]["content"] == "My key is [redacted:api-key] now."
    assert lines[1]["messages"][-1]["content"] == "It is [redacted:api-key] and [redacted:known]."


def test_json_needs_a_file_and_a_file_a_place(shell: Shell) -> None:
    assert "--out FILE" in shell("export", "--json")[2]
    assert "cannot be written" in shell("export", "--out", str(shell.home / "none" / "x.jsonl"))[2]


@dataclass
class Learned:
    """A store in which much came from one session, named after the canary too."""

    session: str
    support: Turn
    skill: Skill
    adapter: Adapter
    child: Adapter
    bystander: Skill


def learn(shell: Shell) -> Learned:
    """Everything that a session can leave: rows, skill and folder, index, job, adapter, verdicts, quotes."""
    home, session = Home(shell.settings), f"lesson: {CANARY}"
    support = spoken(f"Name {CANARY} for me.", f"It is {CANARY}.md", session=session, created_at=1000.0)
    followed = spoken(f"And the second {CANARY}?", f"{CANARY} two", session=session, created_at=1001.0)
    quote = spoken(f"Judge: {CANARY}", f"Bad, {CANARY}", kind=TurnKind.SIDE, side="declared", created_at=1002.0)
    title = spoken(f"Title of: Name {CANARY} for me.", "Names", kind=TurnKind.SIDE, side="title", created_at=1003.0)
    other_title = spoken("Title of something else", "Else", kind=TurnKind.SIDE, side="title", created_at=1004.0)
    filler = [spoken(f"Question {n} " + "x" * n, "y" * n, session=f"other-{n}", created_at=900.0) for n in range(60)]
    shell.keep(*((turn, GOOD) for turn in filler[:30]), (support, BAD), (quote, None), (title, None),
               (other_title, None), *((turn, GOOD) for turn in filler[30:]), (followed, GOOD))
    with shell.database() as database:
        asyncio.run(keep(database, make_feedback(support, f"No, {CANARY} is right.", -1.0, CANARY)))
        ledger.record(database, "default", [Signal(support.id, "next_message", -0.8, f"said {CANARY}", CANARY)])
        rejected.record(database, "default", rejected.RejectedEdit(
            support.id, "create", "names", f"say {CANARY}", "model", CANARY, "no", ()
        ))
        rejected.record(database, "default", rejected.RejectedEdit(
            filler[1].id, "create", "other", "Rule.", "model", "Question 1", "no", ((f"It is {CANARY}.md", "x"),)
        ))
        rejected.record(database, "default", rejected.RejectedEdit(
            filler[1].id, "create", "kept", "Rule.", "model", "Question 1", "no", (("Question 1", "x"),)
        ))
        database.write(lambda c: c.execute(
            "INSERT INTO exposures (namespace, name, version, policy, session, day, turn_id, position, began_at, share,"
            " withheld) VALUES ('default', 'names', 1, 'base', ?, 0, ?, 1, 0, 0.1, 0)", (session, followed.id)
        ))
        catalog = Catalog(database, "default", home.skills)
        verdict = Verdict("", "without", "with", 1, 1.0, 0.5, "admitted", {"with": {"reply": f"{CANARY}.md"}})
        skill, _ = catalog.publish(
            make_skill("names", f"Rule: say {CANARY}."), SkillState.ACTIVE, f"quoted {CANARY}", [support.id], verdict
        )
        bystander, _ = catalog.publish(make_skill("other", "Rule: other."), SkillState.ACTIVE, "test", [filler[0].id])
        catalog.record(Verdict(
            "skill:other@1", "a", "b", 1, 0.0, 0.0, "admitted", {"n": 3, "reply": f"It is {CANARY}.md", "own": "Rule."}
        ))
        taught = spoken("Task", "Done", session="work", skills=(skill.ref,), injected=f"say {CANARY}", generation=2)
        asyncio.run(keep(database, taught))
        adapter, child = adapters(shell, database, session, followed, taught)
    (home.indexes).mkdir(parents=True)
    (home.indexes / "static.npz").write_bytes(CANARY.encode())
    return Learned(session, support, skill, adapter, child, bystander)


def adapters(shell: Shell, database: Database, session: str, replayed: Turn, taught: Turn) -> tuple[Adapter, Adapter]:
    """One adapter that rehearsed the session, one trained after it; the second serves."""
    home = Home(shell.settings)
    job = Jobs(database, "default", home.jobs).take()
    assert job is not None
    job.folder.mkdir(parents=True)
    rows = [
        {"turn_id": replayed.id, "session": session, "split": "replay", "skills": []},
        {"turn_id": taught.id, "session": "work", "split": "train", "skills": list(taught.skills)},
    ]
    (job.folder / "manifest.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    for name in ("dataset.jsonl", "held_out.json", "comparison.json", "features.safetensors", "checkpoint.pt"):
        (job.folder / name).write_text(CANARY, encoding="utf-8")
    (job.folder / "adapter").mkdir()
    (job.folder / "adapter" / "adapter_model.safetensors").write_text(CANARY, encoding="utf-8")
    (job.folder / "result.json").write_text("{}", encoding="utf-8")
    registry, routes = Registry(database, "default", home.adapters), Routes(database, "default")
    made: list[Adapter] = []
    for number, kept in enumerate((rows[:1], rows[1:])):
        parent = made[-1].name if made else None
        lineage = {"manifest": kept, "job": job.id}
        one = registry.register(write_adapter(shell.home / f"out-{number}", b"%d" % number), "tiny", parent, lineage)
        verdict = Verdict(f"adapter:{one.name}", "base", one.name, 1, 1.0, 0.9, "promoted", {"examples": [CANARY]})
        registry.decide(one.name, verdict, AdapterState.PROMOTED)
        routes.want(one.name, "promoted by a test")
        made.append(one)
    return made[0], made[1]


def test_a_session_that_is_forgotten_is_in_no_file_any_more(shell: Shell) -> None:
    learned = learn(shell)
    assert len(shell.holding(CANARY)) > 8
    with Database(shell.data / "metaclaw.db") as gateway:  # one that runs, and has read
        assert gateway.read("SELECT count(*) FROM turns WHERE session = ?", (learned.session,)) == [(2,)]
        facts = shell.json("forget", "--session", learned.session, "--derived", "--yes")
        assert shell.holding(CANARY) == []
        assert gateway.read("SELECT count(*) FROM turns WHERE session LIKE 'other-%'") == [(60,)]
        assert gateway.read("PRAGMA integrity_check") == [("ok",)]
        assert gateway.read("PRAGMA foreign_key_check") == []
        assert gateway.read("SELECT name FROM rejected_edits") == [("kept",)]
        evidence = gateway.read("SELECT evidence FROM verdicts WHERE subject = 'skill:other@1'")
    assert json.loads(evidence[-1][0]) == {"n": 3, "reply": "(erased)", "own": "Rule."}
    assert (len(facts["turns"]), len(facts["side_calls"]), facts["feedback"]) == (2, 2, 1)
    assert (facts["skills"], facts["adapters"]) == (["names@1"], [learned.adapter.name, learned.child.name])
    assert facts["erased"] is True


def test_no_table_that_hangs_on_turns_was_overlooked(database: Database) -> None:
    """A new one must be erased too, and this list is where whoever adds it is told so."""
    tables = [row[0] for row in database.read("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    hanging = {name for name in tables if any(
        row[2] == "turns" for row in database.read(f"PRAGMA foreign_key_list({name})")
    )}
    assert hanging == {"feedback", "signals", "support", "samples", "exposures", "rejected_edits"}


def test_what_came_from_it_goes_out_of_use(shell: Shell) -> None:
    learned = learn(shell)
    code, out, _ = shell("forget", "--session", learned.session, typed="y\n")
    assert (code, out.splitlines()[-1].endswith("Erased.")) == (0, True)
    for told in (
        "2 turns with 1 pieces of feedback", "2 side calls since then", "skill names@1 goes out of use until you",
        f"adapter {learned.child.name} is rolled back", f"adapter {learned.adapter.name} may not serve", "and it fails",
    ):
        assert told in out
    with shell.database() as database:
        home = Home(shell.settings)
        catalog = Catalog(database, "default", home.skills)
        assert [skill.name for skill in catalog.live()] == ["other"]
        assert [skill.ref for skill in catalog.waiting()] == ["names@2"]
        assert catalog.changes_of("names")[-1].reason == "a session that it came from was erased"
        assert not (home.skills / "names").exists()
        registry = Registry(database, "default", home.adapters)
        assert {one.state for one in registry.all()} == {AdapterState.ROLLED_BACK}
        assert set(registry.stale()) == {learned.adapter.name, learned.child.name}
        assert Routes(database, "default").state().wanted is None
        for name in registry.stale():
            with pytest.raises(Exception, match="is stale"):
                registry.checked(name)
        [[state, progress]] = database.read("SELECT state, progress FROM jobs")
        assert (state, json.loads(progress)["error"]) == ("failed", "What it was made of was erased.")
        assert support_turns(database) == {catalog.support_of(learned.bystander)[0]}
        catalog.change_state(catalog.waiting()[0], SkillState.ACTIVE, "approved by a person")
        assert "names" in {skill.name for skill in catalog.live()}
        assert database.read("SELECT subject FROM stale WHERE subject LIKE 'skill:%'") == [("skill:names@1",)]


def test_what_an_adapter_answered_to_it_is_in_no_verdict_any_more(shell: Shell) -> None:
    """Of one that was only measured on it, which stays; and of the job, as older versions told of it."""
    learned, answer = learn(shell), "Dear a@example.org"
    evidence = {"query": {"n": 1}, "changed": [{"prompt": "Mail it.", "candidate": answer}]}
    with shell.database() as database:
        registry = Registry(database, "default", Home(shell.settings).adapters)
        row = {"turn_id": learned.support.id, "split": "query", "skills": []}
        one = registry.register(write_adapter(shell.home / "out", b"x"), "tiny", None, {"manifest": [row]})
        verdict = Verdict(f"adapter:{one.name}", "base", one.name, 1, 1.0, 0.9, "promoted", evidence)
        registry.decide(one.name, verdict, AdapterState.PROMOTED)
        database.write(lambda c: c.execute("UPDATE jobs SET progress = ?", (json.dumps({"verdict": evidence}),)))
    shell.json("forget", "--session", learned.session, "--yes")
    assert shell.holding(answer) == []
    with shell.database() as database:
        registry = Registry(database, "default", Home(shell.settings).adapters)
        assert registry.checked(one.name).state is AdapterState.PROMOTED
        assert [verdict.evidence["query"] for verdict in registry.verdicts(one.name)] == [{"n": 1}]
        [[progress]] = database.read("SELECT progress FROM jobs")
        assert json.loads(progress)["verdict"]["query"] == {"n": 1}


def test_a_run_whose_turns_only_carried_its_skill_goes_too(shell: Shell) -> None:
    learned = learn(shell)
    with shell.database() as database:
        [[folder]] = database.read("SELECT folder FROM jobs")
    manifest = Path(folder, "manifest.jsonl")
    _, carried = manifest.read_text().splitlines()
    manifest.write_text(carried)
    shell.json("forget", "--session", learned.session, "--yes")
    assert sorted(path.name for path in Path(folder).iterdir()) == ["manifest.jsonl", "result.json"]
    with shell.database() as database:
        assert database.read("SELECT state FROM jobs") == [("failed",)]


def test_a_large_store_is_told_of(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = learn(shell)
    asked = ("forget", "--session", learned.session, "--dry-run")
    assert "stop the gateway before" not in shell(*asked)[1]
    monkeypatch.setattr("metaclaw.cli.data.LARGEST_BESIDE_OTHERS_BYTES", 1)
    assert "stop the gateway before" in shell(*asked)[1]


def test_by_policy_an_adapter_is_only_flagged(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    learned = learn(shell)
    monkeypatch.setenv("METACLAW_TRAINING__ERASED_DATA", "flag")
    assert f"adapter {learned.child.name} is flagged" in shell("forget", "--session", learned.session, "--yes")[1]
    with shell.database() as database:
        registry = Registry(database, "default", Home(shell.settings).adapters)
        assert Routes(database, "default").state().wanted == learned.child.name
        assert registry.checked(learned.child.name).state is AdapterState.PROMOTED
        assert learned.child.name in registry.stale()


def test_it_shows_first_asks_and_changes_nothing_by_itself(shell: Shell) -> None:
    learned = learn(shell)
    held = {file for file in shell.holding(CANARY) if "metaclaw.db" not in file}
    assert shell.json("forget", "--session", learned.session, "--dry-run")["erased"] is False
    code, out, _ = shell("forget", "--session", learned.session, typed="n\n")
    assert (code, "Nothing was erased." in out) == (3, True)
    code, _, err = shell("forget", "--session", learned.session)
    assert (code, "Nobody is there to be asked" in err) == (1, True)
    assert {file for file in shell.holding(CANARY) if "metaclaw.db" not in file} == held
    assert learned.session in {row["session"] for row in shell.json("sessions")}
    still = shell.json("forget", "--session", learned.session, "--dry-run")
    assert (len(still["turns"]), still["live_skills"]) == (2, ["names@1"])
    assert "There is no session 'nobody'" in shell("forget", "--session", "nobody", "--yes")[2]


def test_what_comes_late_goes_with_a_second_time_and_positions_are_never_given_away_twice(shell: Shell) -> None:
    learned = learn(shell)
    with shell.database() as database:
        [[before]] = database.read("SELECT max(position) FROM turns")
    late = spoken("Newest", "x", session=learned.session)
    shell.keep((late, None))
    assert len(shell.json("forget", "--session", learned.session, "--derived", "--yes")["turns"]) == 3
    shell.keep((spoken(f"Replay: {CANARY}", "x", kind=TurnKind.SIDE, side="declared"), None))
    with shell.database() as database:
        rows = database.read("SELECT position FROM turns ORDER BY position DESC LIMIT 2")
    assert [row[0] for row in rows] == [before + 2, before + 1]
    assert shell.holding(CANARY)
    again = shell.json("forget", "--session", learned.session, "--yes")
    assert (again["turns"], len(again["side_calls"])) == ([], 1)
    assert shell.holding(CANARY) == []
