"""The peers' bench: meter, first k, a peer in a process of its own, and all that needs no package, end to end."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import aiohttp
import pytest
from rich.console import Console

from metaclaw.bench.peers.first_k import GENERAL, SPECIFIC, category_of, first_k
from metaclaw.bench.peers.meter import Meter, Spent, usage_in
from metaclaw.bench.peers.process import Peer, PeerError, environment
from metaclaw.bench.peers.report import paired
from metaclaw.bench.peers.run import Plan, run
from metaclaw.bench.workdays.generate import Workdays, generate
from metaclaw.bench.workdays.runfile import Record
from metaclaw.errors import MetaClawError
from office_worker import OfficeWorker
from upstream_server import ScriptedUpstream, upstream

RECORD = Record("d01q01", 1, 1, "file", "", True, 1.0, True)
BODY = {"messages": [{"role": "user", "content": "As you like?"}]}


@pytest.fixture(scope="module")
def days() -> Workdays:
    return generate(11)


@pytest.fixture
async def scripted(days: Workdays) -> AsyncIterator[ScriptedUpstream]:
    async with upstream(OfficeWorker(days)) as opened:
        yield opened


def plan_for(folder: Path, url: str, *arms: str) -> Plan:
    return Plan(arms, 11, 1, 5, url, "office-worker", folder / "runs", folder / "venvs")


async def test_raw_log_first_k_and_ours_on_the_same_questions(scripted: ScriptedUpstream, tmp_path: Path) -> None:
    plan = plan_for(tmp_path, scripted.url, "raw", "feedback-log", "first-k", "skills")
    await run(plan, tmp_path / "results", Console(quiet=True))
    result = json.loads((tmp_path / "results" / "peers.json").read_text())
    arms = result["arms"]
    assert arms["raw"]["n"] == arms["skills"]["n"] == 5
    # The worker keeps to what he is told: whoever tells him anything is better than nothing.
    for name in ("feedback-log", "first-k", "skills"):
        assert arms[name]["value"] > arms["raw"]["value"], name
    assert result["skills_against"]["raw"]["difference"] > 0
    costs = {name: found["per_question"] for name, found in result["details"].items()}
    assert costs["raw"]["requests"] == 1
    assert costs["skills"]["requests"] > 1  # replays are ours to pay for
    asked = len(scripted.seen)
    await run(plan, tmp_path / "results", Console(quiet=True))
    assert len(scripted.seen) == asked  # nothing was left to do


async def test_the_first_days_are_reported_from_a_run_of_more(scripted: ScriptedUpstream, tmp_path: Path) -> None:
    plan = replace(plan_for(tmp_path, scripted.url, "raw"), questions=2)
    for days in (2, 1):
        await run(replace(plan, days=days), tmp_path / "results", Console(quiet=True))
        result = json.loads((tmp_path / "results" / "peers.json").read_text())
        assert result["arms"]["raw"]["n"] == 2 * days


async def test_a_peer_that_cannot_be_installed_is_told_with_its_error(
    scripted: ScriptedUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object) -> Path:
        raise PeerError("mem0: no such package")

    monkeypatch.setattr("metaclaw.bench.peers.run.environment", fails)
    await run(plan_for(tmp_path, scripted.url, "raw", "mem0"), tmp_path / "results", Console(quiet=True))
    result = json.loads((tmp_path / "results" / "peers.json").read_text())
    assert result["notes"]["mem0"] == {"could_not_be_run": "mem0: no such package"}
    assert list(result["arms"]) == ["raw"]


def test_an_unknown_arm_and_impossible_days_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MetaClawError, match="no arm thawed"):
        plan_for(tmp_path, "http://127.0.0.1:9/v1", "thawed")
    with pytest.raises(MetaClawError, match="between 1 and 44"):
        replace(plan_for(tmp_path, "http://127.0.0.1:9/v1", "raw"), days=45)


async def test_the_meter_counts_what_passes_and_only_for_who_knows_its_secret(scripted: ScriptedUpstream) -> None:
    async with Meter(scripted.url, "provider-key") as meter, aiohttp.ClientSession() as http:
        for _ in range(2):
            async with http.post(f"{meter.url}/chat/completions", json=BODY) as reply:
                assert (await reply.json())["choices"][0]["message"]["content"] == "As you like."
        origin = meter.base.rpartition("/")[0]
        async with http.post(f"{origin}/v1/chat/completions", json=BODY) as reply:
            assert reply.status == 404
        assert meter.take() == Spent(2, 60, 40)
        assert meter.take() == Spent()
    assert [seen.headers["authorization"] for seen in scripted.seen] == ["Bearer provider-key"] * 2


def test_usage_is_found_in_whole_and_in_streamed_replies() -> None:
    assert usage_in(b'{"usage": {"prompt_tokens": 3}}') == {"prompt_tokens": 3}
    assert usage_in(b'data: {"usage": {"prompt_tokens": 4}}\n\ndata: [DONE]\n\n') == {"prompt_tokens": 4}
    assert usage_in(b"no JSON") == {}


def test_the_first_k_are_those_of_the_least_names_whatever_is_asked() -> None:
    plain = {f"s{number:02}": f"Vases are blue {number}." for number in range(20)}
    data = {f"d{number:02}": f"Columns of a csv {number}." for number in range(20)}
    told = first_k({**plain, **data}, "Sort the csv.")
    assert told.count("Vases") == GENERAL
    assert told.count("Columns") == SPECIFIC
    assert "### s00" in told
    assert "### s06" not in told
    # Where nothing fits, the first category that holds a skill is taken.
    assert first_k({**data, "m": "Write an email."}, "Water the plants.").count("Columns") == SPECIFIC
    assert category_of("Vases are blue.") == ""
    assert first_k({}, "Sort the csv.") == ""


def test_pairs_are_the_questions_that_both_have() -> None:
    ours = [replace(RECORD, id=str(number), right=True) for number in range(10)]
    theirs = [replace(RECORD, id=str(number), right=False) for number in range(5, 20)]
    assert paired(ours, theirs) == {"n": 5, "ours": 1.0, "theirs": 0.0, "difference": 1.0, "ci95": [1.0, 1.0]}
    assert paired(ours, []) is None


SIDE = '''
class Side:
    def __init__(self, config):
        print("peers print")
        self.version, self.heard = "1.0", []
        if config.get("broken"):
            raise RuntimeError("no key")
    def before(self, asked):
        return "; ".join(self.heard)
    def after(self, asked, answered, said, right):
        if asked == "bad":
            raise ValueError("too long")
        self.heard.append(said)
    def holds(self):
        return len(self.heard)
'''  # fmt: skip


@pytest.fixture
def side(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A peer of nobody's beside a copy of `side.py`."""
    from metaclaw.bench.peers import process

    copy = tmp_path / "side.py"
    copy.write_bytes(process.SIDE.read_bytes())
    (tmp_path / "own_side.py").write_text(SIDE)
    monkeypatch.setattr(process, "SIDE", copy)
    return tmp_path


async def test_a_peer_is_asked_and_told_and_its_errors_are_counted(side: Path) -> None:
    async with Peer("own", Path(sys.executable), {}, side / "own.log") as peer:
        assert peer.version == "1.0"
        await peer.after("asked", "answered", "No.", False)
        await peer.after("bad", "answered", "Lost.", False)
        assert await peer.before("again") == "No."
        assert peer.holds == 1
        assert peer.errors == {"ValueError: too long": 1}
    assert "peers print" in (side / "own.log").read_text()


async def test_a_peer_that_does_not_start_says_why(side: Path) -> None:
    with pytest.raises(PeerError, match="no key"):
        async with Peer("own", Path(sys.executable), {"broken": True}, side / "own.log"):
            pass


def test_an_environment_that_is_there_is_taken(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "installed").write_text("a==1\nb==2")
    assert environment("own", ("a==1", "b==2"), tmp_path) == tmp_path / "own" / "bin" / "python"


@pytest.mark.parametrize("name", ["mem0", "ace"])
async def test_the_real_peers_start_where_they_are_installed(
    name: str, tmp_path: Path, scripted: ScriptedUpstream
) -> None:
    """Skipped on machines where `make bench-peers` has never run."""
    from metaclaw.bench.peers.run import WAYS
    from metaclaw.cli.bench_learning import PEERS_VENVS

    venv = PEERS_VENVS.expanduser() / name
    if not (venv / "installed").exists():
        pytest.skip(f"{name} is not installed below {PEERS_VENVS}")
    way = WAYS[name]
    config = {"url": scripted.url, "model": "office-worker", "folder": str(tmp_path), **(way.config or {})}
    async with asyncio.timeout(120), Peer(way.side, venv / "bin" / "python", config, tmp_path / "log") as peer:
        assert peer.version in way.packages[0]
        assert await peer.before("How are dates written?") == ""
