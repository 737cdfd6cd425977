"""How often each detector is right: precision and recall over the labelled cases in `signals_data/`.

    python -m metaclaw.bench.signals                          # the detectors: seconds, no model
    python -m metaclaw.bench.signals --judge URL --token T    # the judge too, on the model behind URL

Half of the cases, chosen by a hash of their id, is held out: what the rules get wrong there was not looked at case by
case. Cases and rules have the same authors, though, so the figures say how well the rules fit this kind of case, and
less how they fare with other people's words; docs/signals.md tells how they did on new cases that no rule knew.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import aiohttp
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from metaclaw.bench import results
from metaclaw.bench.client import MEASURED, WITHOUT_SKILLS
from metaclaw.errors import UpstreamError
from metaclaw.signals import detectors
from metaclaw.signals.judge import judge, transcript_of
from metaclaw.signals.sequel import Sequel, sequel
from metaclaw.signals.tools import results_in
from metaclaw.types import Check, Feedback, Signal, Turn, TurnKind

Case = Mapping[str, Any]
FLOORS = {"precision": 0.9, "recall": 0.85}  # our own bars, for the held-out half


@dataclass(slots=True)
class Score:
    """Of the cases that a detector spoke up on, which were right; of those that it should have, which it did."""

    said: list[bool] = field(default_factory=list)
    wanted: list[bool] = field(default_factory=list)
    n: int = 0

    def add(self, spoke: bool, should: bool) -> None:
        self.n += 1
        if spoke:
            self.said.append(should)
        if should:
            self.wanted.append(spoke)

    @property
    def precision(self) -> float:
        return sum(self.said) / len(self.said) if self.said else 0.0

    @property
    def recall(self) -> float:
        return sum(self.wanted) / len(self.wanted) if self.wanted else 0.0


@dataclass(frozen=True, slots=True)
class Detector:
    """`spoke` and `should` say of a case whether the detector speaks up and whether it ought to.

    One without `floors` is measured to show a limit.
    """

    name: str
    cases: str
    spoke: Callable[[Case], bool]
    should: Callable[[Case], bool] = lambda case: bool(case["label"])
    among: Callable[[Case], bool] = lambda _: True
    floors: bool = True


def held_out(case_id: str) -> bool:
    return hashlib.sha256(case_id.encode()).digest()[0] % 2 == 1


def cases(name: str) -> list[Case]:
    file = resources.files("metaclaw.bench").joinpath("signals_data", f"{name}.jsonl")
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def measure(detector: Detector) -> tuple[Score, Score]:
    """On the half that rules were written for, and on the half that is held out."""
    scores = (Score(), Score())
    for case in cases(detector.cases):
        if detector.among(case):
            scores[held_out(case["id"])].add(detector.spoke(case), detector.should(case))
    return scores


def turn(**fields: Any) -> Turn:
    messages = fields.pop("messages", [])
    usual: dict[str, Any] = {
        "id": "turn", "namespace": "bench", "session": "s", "kind": TurnKind.MAIN, "dialect": "chat",
        "request": json.dumps({"messages": messages}).encode(), "response": b"", "query": "", "reply": "",
        "status": 200, "complete": True, "skills": (), "injected": "", "generation": 0, "policy": "", "usage": {},
        "timings": {}, "created_at": 0.0,
    }
    return Turn(**(usual | fields))


def _next_message(case: Case) -> float:
    found = detectors.next_message(turn(reply=case.get("reply", "")), case["said"])
    return sum(signal.value or 0.0 for signal in found)


def _tool_error(case: Case) -> bool:
    call = {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": case["call"]}]}
    messages = [call, case["came_back"]]
    return bool(detectors.tool_errors(turn(), Sequel(messages=messages, results=results_in(messages))))


def _asked_again(case: Case) -> bool:
    *before, said = case["said"]
    return bool(detectors.asked_again(said, [turn(query=query) for query in reversed(before)]))


def _regenerated(case: Case) -> bool:
    first = turn(messages=case["before"], timings={"total_seconds": case["reply_seconds"]})
    later = turn(messages=case["after"], created_at=case["reply_seconds"] + case["gap_seconds"])
    if case["gap_seconds"] <= 1:  # sent while the reply was still on its way
        later = turn(messages=case["after"], created_at=float(case["gap_seconds"]))
    followed = sequel(first, later)
    return followed is not None and bool(detectors.regenerated(first, followed))


def _abandoned(case: Case) -> bool:
    last = turn(messages=case["messages"], reply=case["reply"], status=case["status"], complete=case["complete"])
    return bool(detectors.abandoned(last))


def _feedback(case: Case) -> float:
    check = Check(case["pattern"]) if case["pattern"] else None
    item = Feedback("f", "bench", "turn", case["score"], case["text"], check, 0.0)
    rated = turn(reply=case["reply"])
    found: list[Signal] = [*detectors.explicit_feedback(rated, [item]), *detectors.posted_checks(rated, [item])]
    return sum(signal.value or 0.0 for signal in found)


CLEAR = 0.28  # below that a score decides nothing (`signals.combine`)
DETECTORS = (
    Detector("correction", "corrections", lambda case: _next_message(case) < 0),
    # 'that's for linux, i'm on windows': nothing in the words says that something is wrong. Rules hear few of these.
    Detector("correction, unmarked", "unmarked", lambda case: _next_message(case) < 0, floors=False),
    Detector("praise", "praise", lambda case: _next_message(case) > 0),
    Detector("tool error", "tool_errors", _tool_error),
    Detector("asked again", "repeats", _asked_again),
    Detector("regenerated", "regenerated", _regenerated),
    Detector("abandoned", "abandoned", _abandoned),
    Detector(
        "feedback, bad", "feedback", lambda case: _feedback(case) <= -CLEAR, lambda case: case["label"] == "bad",
        lambda case: not case["pattern"],
    ),
    Detector(
        "feedback, good", "feedback", lambda case: _feedback(case) >= CLEAR, lambda case: case["label"] == "good",
        lambda case: not case["pattern"],
    ),
    Detector(
        "posted check", "feedback", lambda case: _feedback(case) < 0, lambda case: case["label"] == "bad",
        lambda case: bool(case["pattern"]),
    ),
)


# --- the judge ---


@dataclass(slots=True)
class Judged:
    """What became of the judge's cases: right and wrong verdicts on clear ones, and abstentions on any."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)  # label, verdict, reason

    def share(self, wanted: str, among: Sequence[str]) -> tuple[int, int]:
        verdicts = [verdict for label, verdict, _ in self.rows if label in among]
        return sum(verdict == wanted for verdict in verdicts), len(verdicts)


async def judge_all(ask: Callable[[dict[str, Any]], Any], votes: int) -> Judged:
    judged = Judged()
    for case in cases("judge"):
        signal = await judge("turn", transcript_of(*_judged_turn(case)), rubric="", votes=votes, ask=ask)
        verdict = "abstain" if signal.value is None else "good" if signal.value > 0 else "bad"
        judged.rows.append((case["label"], verdict, signal.reason))
    return judged


def _judged_turn(case: Case) -> tuple[Turn, Sequel]:
    calls = isinstance(case["reply"], dict)
    reply = case["reply"] if calls else {"role": "assistant", "content": case["reply"]}
    messages = [*case["messages"], reply, *case["after"]]
    asked = turn(
        messages=case["messages"], query=case["messages"][-1]["content"], reply="" if calls else case["reply"]
    )
    followed = sequel(asked, turn(messages=messages))
    return asked, followed or Sequel()


class AskOverHttp:
    """A question to any OpenAI-compatible model."""

    def __init__(self, http: aiohttp.ClientSession, url: str, model: str) -> None:
        self._http, self._url, self._model = http, url, model

    async def __call__(self, body: dict[str, Any]) -> str:
        async with self._http.post(f"{self._url}/chat/completions", json={"model": self._model, **body}) as reply:
            if reply.status != 200:
                raise UpstreamError(reply.status, "upstream_error", (await reply.text())[:200])
            return str((await reply.json())["choices"][0]["message"]["content"] or "")


async def judge_behind(url: str, token: str, model: str, votes: int) -> Judged:
    headers = {"authorization": f"Bearer {token}", **MEASURED, **WITHOUT_SKILLS}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=600)) as http:
        return await judge_all(AskOverHttp(http, url.rstrip("/"), model), votes)


# --- the report ---


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m metaclaw.bench.signals", description=__doc__.partition("\n")[0])
    parser.add_argument("--results", type=Path, default=Path("bench/results"), help="folder of the result files")
    parser.add_argument("--judge", metavar="URL", help="base URL of an OpenAI-compatible model, with its /v1")
    parser.add_argument("--token", default=os.environ.get("METACLAW_GATEWAY__TOKEN", ""), help="its API key")
    parser.add_argument("--model", default="metaclaw", help="its model name")
    parser.add_argument("--votes", type=int, default=3, help="votes on each case")
    chosen = parser.parse_args(arguments)
    measured = {detector.name: measure(detector) for detector in DETECTORS}
    judged = None
    if chosen.judge:
        judged = asyncio.run(judge_behind(chosen.judge, chosen.token, chosen.model, chosen.votes))
    console = Console()
    console.print(table(measured))
    if judged:
        console.print(judge_table(judged))
    kept = _kept_judge(chosen.results) if judged is None else judge_record(judged, chosen.model, chosen.votes)
    path = write(chosen.results, measured, kept)
    console.print(f"Written: {path}")
    return 0 if all(check.holds for check in checks(measured).values()) else 1


def table(measured: Mapping[str, tuple[Score, Score]]) -> Table:
    shown = Table(title="Detectors: precision and recall on the half to tune on, and on the half held out", box=SIMPLE)
    shown.add_column("detector", no_wrap=True)
    for half in ("tune", "held"):
        for column in ("precision", "recall", "n"):
            shown.add_column(f"{half}\n{column}", justify="right", no_wrap=True)
    for name, halves in measured.items():
        cells = [(f"{score.precision:.3f}", f"{score.recall:.3f}", str(score.n)) for score in halves]
        shown.add_row(name, *(cell for half in cells for cell in half))
    return shown


def judge_table(judged: Judged) -> Table:
    shown = Table("label", "said good", "said bad", "abstained", "n", title="Judge")
    for label in ("good", "bad", "unclear"):
        counts = [judged.share(verdict, [label])[0] for verdict in ("good", "bad", "abstain")]
        shown.add_row(label, *map(str, counts), str(judged.share("good", [label])[1]))
    return shown


def judge_record(judged: Judged, model: str, votes: int) -> dict[str, Any]:
    """Whatever came out: the judge has no bar here, since the model is the user's choice."""
    labels = ("good", "bad", "unclear")
    verdicts = ("good", "bad", "abstain")
    found = {label: {verdict: judged.share(verdict, [label])[0] for verdict in verdicts} for label in labels}
    command = f"python -m metaclaw.bench.signals --judge URL --token TOKEN --model {model} --votes {votes}"
    return {"command": command, "model": model, "votes": votes, "n": len(judged.rows), "verdicts_by_label": found}


def checks(measured: Mapping[str, tuple[Score, Score]]) -> dict[str, results.Check]:
    found = {}
    bound = {detector.name for detector in DETECTORS if detector.floors}
    for name, (_, held) in measured.items():
        if name not in bound:
            continue
        for figure, value in (("precision", held.precision), ("recall", held.recall)):
            bar = FLOORS[figure]
            label = f"{_key(name)}_{figure}"
            found[label] = results.Check(round(value, 4), f"at least {bar} on the held-out half", value >= bar)
    return found


def write(folder: Path, measured: Mapping[str, tuple[Score, Score]], judge_found: Mapping[str, Any] | None) -> Path:
    return results.write(
        folder,
        "signals",
        "make bench-signals",
        "none",
        [],
        dict(_arms(measured)),
        checks(measured),
        {"judge": judge_found} if judge_found else {},
    )


def _arms(measured: Mapping[str, tuple[Score, Score]]) -> Iterator[tuple[str, results.Arm]]:
    for name, halves in measured.items():
        for half, score in zip(("tune", "held-out"), halves, strict=True):
            for figure, passed in (("precision", score.said), ("recall", score.wanted)):
                if passed:
                    yield f"{_key(name)} {half} {figure}", results.share(figure, passed)


def _kept_judge(folder: Path) -> Mapping[str, Any] | None:
    """What the result file says of the judge, so that a run without a model does not forget it."""
    path = folder / "signals.json"
    if not path.exists():
        return None
    kept: Mapping[str, Any] | None = json.loads(path.read_text(encoding="utf-8")).get("judge")
    return kept


def _key(name: str) -> str:
    return name.replace(", ", "_").replace(" ", "_")


if __name__ == "__main__":
    sys.exit(main())
