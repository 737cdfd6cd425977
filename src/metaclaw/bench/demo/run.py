"""The whole circle, driven through the HTTP door like any user of it would.

    frozen arm -> lessons (failures, corrections, skills) -> skills arm -> the rest of the week
    -> idle: training, gate, swap under load -> weights and both arms -> table, JSON, picture

The full week is preceded by the same lessons on a gateway where the model writes all skills, so that its words can be
read, and measured, beside the user's own.

The gateway is a `metaclaw start` of its own. Exam questions are side calls: answered and kept, never learned from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from metaclaw.bench.client import MEASURED, WHOEVER_IS_THERE, WITHOUT_SKILLS, Answer, GatewayClient
from metaclaw.bench.demo import report
from metaclaw.bench.demo.workload import CONVENTIONS, EXAM, KINDS, PRACTICE, SYSTEM_PROMPT, Task, tasks
from metaclaw.bench.server import OwnGateway

console = Console()

DEFAULT_FOLDER = Path("~/.metaclaw/demo").expanduser()
MAX_TOKENS = 64
CONCURRENCY = 4
LESSONS_EACH = 3  # attempts to teach a convention before the week goes on without it
SETTLE_SECONDS = 180.0
TRAINING_SECONDS = 3600.0
NO_JOB_SECONDS = 60.0
LOAD_STREAMS = 8
IDLE_SECONDS = 3


@dataclass(frozen=True, slots=True)
class DemoPlan:
    """How much of the week is played. `practice` counts tasks of each convention, `exam` of each kind."""

    name: str
    practice: int
    plain: int
    exam: int
    epochs: int
    least_tasks: int
    most_minutes: int
    seed: int
    by_model: bool = False  # whether the lessons are also given where the model writes the skills

    @classmethod
    def quick(cls, seed: int) -> DemoPlan:
        return cls("quick", practice=8, plain=6, exam=4, epochs=2, least_tasks=24, most_minutes=10, seed=seed)

    @classmethod
    def full(cls, seed: int) -> DemoPlan:
        return cls("full", practice=16, plain=12, exam=11, epochs=3, least_tasks=60, most_minutes=30, seed=seed,
                   by_model=True)


@dataclass(slots=True)
class Record:
    """What the demo measured: replies an arm, seconds a part, the swap; `written` are skills by kind and writer."""

    arms: dict[str, list[tuple[Task, str, bool]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    swap: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=dict)
    written: dict[str, dict[str, str]] = field(default_factory=dict)


async def run_demo(
    plan: DemoPlan, model: str | None, data_dir: Path | None, results: Path, *, keep_running: bool
) -> None:
    """Play the week and write `results/demo.json` and `demo.png`. Raises `MetaClawError` when a part fails."""
    folder = data_dir or DEFAULT_FOLDER
    record = Record()
    if plan.by_model:
        settings = settings_of(plan, model) | {"evolve": {"holdout_share": 0, "proposer": "model"}}
        beside = OwnGateway(folder.with_name(f"{folder.name}-by-model"), settings)
        async with beside, GatewayClient(beside.url, beside.token) as client:
            await _Week(plan, client, record, beside.data_dir).learn_by_model()
    server = OwnGateway(folder, settings_of(plan, model))
    async with server, GatewayClient(server.url, server.token) as client:
        await _Week(plan, client, record, server.data_dir).play()
        report.publish(plan, server.model_name, record, results, console)
        if keep_running:
            server.leave_running()
            console.print(f"The gateway goes on: {server.url}/v1  (token: {server.token_file})", highlight=False)
            console.print(f"Stop it with: metaclaw stop --data-dir {server.data_dir}", highlight=False)


def settings_of(plan: DemoPlan, model: str | None) -> dict[str, Any]:
    """The settings of the demo's gateway: idle after a moment, so that it trains while we wait."""
    return {
        "evolve": {"holdout_share": 0},  # the arms are the demo's own
        "serving": {"canary_share": 0},  # nobody works while it sleeps: all of a trial would be waiting
        "training": {"epochs": plan.epochs, "replay_examples": 18},
        "schedule": {"idle_seconds": IDLE_SECONDS, "sleep_hours": "", **WHOEVER_IS_THERE},
        **({"model": {"name": model}} if model else {}),
    }


class _Week:
    def __init__(self, plan: DemoPlan, client: GatewayClient, record: Record, data_dir: Path) -> None:
        self._plan = plan
        self._client = client
        self._record = record
        self._data_dir = data_dir
        counts = dict.fromkeys(KINDS, plan.practice) | {"plain": plan.plain}
        self._practice = tasks(PRACTICE, counts, plan.seed)
        self._lessons = tasks(PRACTICE, dict.fromkeys(CONVENTIONS, LESSONS_EACH), plan.seed + 1000)
        self._exam = tasks(EXAM, dict.fromkeys(KINDS, plan.exam), plan.seed)
        seen = {task.prompt for task in self._practice + self._lessons}
        assert not seen & {task.prompt for task in self._exam}  # noqa: S101 - the claim that the exam rests on

    async def learn_by_model(self) -> None:
        await self._timed("lessons, skills by the model", self._teach())
        await self._timed("skills by the model arm", self._examine("skills_by_model", {}))
        await self._keep_words("model")

    async def play(self) -> None:
        await self._timed("frozen arm", self._examine("frozen", WITHOUT_SKILLS))
        await self._timed("lessons", self._teach())
        await self._timed("skills arm", self._examine("skills", {}))
        await self._keep_words("the user's words, or the model")
        await self._timed("working week", self._work())
        await self._timed("training, gate and swap", self._sleep())
        await self._timed("weights arm", self._examine("weights", WITHOUT_SKILLS))
        await self._timed("both arm", self._examine("both", {}))
        self._record.status = await self._client.status()

    async def _timed(self, name: str, part: Any) -> None:
        console.rule(name, align="left")
        started = time.perf_counter()
        await part
        self._record.seconds[name] = round(time.perf_counter() - started, 1)
        console.print(f"{name}: {self._record.seconds[name]:.0f} s", highlight=False)

    async def _examine(self, arm: str, headers: Mapping[str, str]) -> None:
        replies = await self._ask_all(self._exam, {**MEASURED, **headers})
        rows = [(task, reply.text, task.passes(reply.text)) for task, reply in zip(self._exam, replies, strict=True)]
        self._record.arms[arm] = rows
        passed = sum(ok for _, _, ok in rows)
        console.print(f"{arm}: {passed} of {len(rows)} right", highlight=False)
        for task, reply, ok in rows:
            if not ok and arm != "frozen":
                console.print(f"  missed {task.kind}: {reply[:70]!r}, wanted {task.answer!r}", markup=False)

    async def _teach(self) -> None:
        """One task of each convention; where it fails, the correction that a colleague would give."""
        open_kinds = list(CONVENTIONS)
        for attempt in range(LESSONS_EACH):
            batch = [next(t for t in self._lessons[attempt * len(CONVENTIONS) :] if t.kind == k) for k in open_kinds]
            before = {skill["name"] for skill in (await self._client.status())["skills"]}
            for task in batch:
                await self._give_lesson(task)
            open_kinds = await self._without_skill(batch)
            learned = [s for s in (await self._client.status())["skills"] if s["name"] not in before]
            console.print(f"learned: {', '.join(s['name'] + ' (' + s['state'] + ')' for s in learned)}", markup=False)
            if not open_kinds:
                return

    async def _give_lesson(self, task: Task) -> None:
        headers = {"x-session-id": f"lesson: {task.prompt}"}
        answer = await self._client.ask(SYSTEM_PROMPT, task.prompt, MAX_TOKENS, headers)
        passed = task.passes(answer.text)
        await self._tell(task, answer, passed, task.correction)
        said = "right" if passed else "corrected"
        console.print(f"{task.kind}: {answer.text.strip()[:70]!r} -> {said}", markup=False)

    async def _without_skill(self, batch: Sequence[Task]) -> list[str]:
        """The kinds whose lesson has left no skill behind, once every verification is through."""
        deadline = time.monotonic() + SETTLE_SECONDS
        while time.monotonic() < deadline:
            status = await self._client.status()
            if status["learning"] == "settled":
                break
            await asyncio.sleep(0.2)
        open_kinds = []
        for task in batch:
            probe = await self._client.matching_skills(SYSTEM_PROMPT, task.prompt)
            if not probe:
                open_kinds.append(task.kind)
        return open_kinds

    async def _keep_words(self, by: str) -> None:
        """For each convention the skill that its requests carry, as it stands in the library's folder."""
        for task in self._lessons[: len(CONVENTIONS)]:
            refs = await self._client.matching_skills(SYSTEM_PROMPT, task.prompt)
            files = [next(self._data_dir.glob(f"skills/*/{ref.partition('@')[0]}/SKILL.md"), None) for ref in refs]
            texts = [path.read_text("utf-8").partition("\n---\n")[2].strip() for path in files if path]
            self._record.written.setdefault(task.kind, {})[by] = texts[0] if texts else ""

    async def _work(self) -> None:
        """The rest of the week, with the skills live; each result is checked and said."""
        limit = asyncio.Semaphore(CONCURRENCY)

        async def one(number: int, task: Task) -> bool:
            async with limit:
                headers = {"x-session-id": f"work-{number}"}
                answer = await self._client.ask(SYSTEM_PROMPT, task.prompt, MAX_TOKENS, headers)
            passed = task.passes(answer.text)
            await self._tell(task, answer, passed, "")
            return passed

        done = await asyncio.gather(*(one(number, task) for number, task in enumerate(self._practice)))
        console.print(f"{sum(done)} of {len(done)} tasks of the week right", highlight=False)

    async def _tell(self, task: Task, answer: Answer, passed: bool, correction: str) -> None:
        await self._client.feedback(answer.turn_id, 1 if passed else -1, "" if passed else correction, task.pattern)

    async def _sleep(self) -> None:
        """Leave the gateway alone until it has trained, judged and swapped, then load it while it swaps."""
        deadline = time.monotonic() + TRAINING_SECONDS
        shown = ""
        while time.monotonic() < deadline:
            status = await self._client.status()
            shown = _show_progress(status, shown)
            job = status["job"] or {}
            if not job and time.monotonic() > deadline - TRAINING_SECONDS + NO_JOB_SECONDS:
                console.print("No training run began: too few turns of the week were proven.")
                return
            wanted = status["adapter"]["wanted"]
            if wanted and not self._record.swap:
                await self._load_until_swapped(wanted)
            if job.get("state") == "failed" or (job.get("state") == "done" and self._swapped_or_rejected(job)):
                console.print(f"gate: {job.get('decision', job.get('error'))}", markup=False)
                return
            await asyncio.sleep(0.2)
        raise TimeoutError("no training run ended within an hour")

    def _swapped_or_rejected(self, job: Mapping[str, Any]) -> bool:
        return bool(self._record.swap) or str(job.get("decision", "")).startswith("rejected")

    async def _load_until_swapped(self, adapter: str) -> None:
        """Streams without pause from before the swap until after it; each must be of one policy from end to end."""
        failed, mixed, policies = 0, 0, dict[str, int]()
        swapped = asyncio.Event()

        async def stream(task: Task) -> None:
            nonlocal failed, mixed
            try:
                answer = await self._client.ask(SYSTEM_PROMPT, task.prompt, 16, MEASURED | WITHOUT_SKILLS, stream=True)
            except (aiohttp.ClientError, TimeoutError):
                failed += 1
                return
            mixed += answer.named_policies != {answer.policy}
            policies[answer.policy] = policies.get(answer.policy, 0) + 1
            if answer.policy.endswith(adapter):
                swapped.set()

        async def keep_streaming(number: int) -> None:
            while not swapped.is_set():
                await stream(self._practice[number % len(self._practice)])
            await stream(self._practice[number % len(self._practice)])

        async with asyncio.timeout(300):
            await asyncio.gather(*(keep_streaming(number) for number in range(LOAD_STREAMS)))
        self._record.swap = {"failed": failed, "mixed": mixed, "replies": policies}
        console.print(f"swapped under {LOAD_STREAMS} streams: {policies}, failed {failed}, mixed {mixed}", markup=False)

    async def _ask_all(self, asked: Sequence[Task], headers: Mapping[str, str]) -> list[Answer]:
        limit = asyncio.Semaphore(CONCURRENCY)

        async def one(task: Task) -> Answer:
            async with limit:
                return await self._client.ask(SYSTEM_PROMPT, task.prompt, MAX_TOKENS, headers)

        return await asyncio.gather(*map(one, asked))


def _show_progress(status: Mapping[str, Any], shown: str) -> str:
    """One line whenever something moved by a tenth."""
    job = status["job"]
    if not job:
        return shown
    trainer = job.get("trainer", {})
    line = f"{job['state']}: {job.get('phase', '')}"
    if job.get("phase") == "training" and trainer.get("total_steps"):
        tenth = 10 * trainer["step"] // trainer["total_steps"]
        line += f" {tenth * 10} % loss {trainer['loss']:.3f}, {trainer['eta_seconds']:.0f} s to go" if tenth else ""
        key = f"{line.split(' loss')[0]}"
    else:
        key = line
    if key != shown:
        console.print(line, highlight=False, markup=False)
    return key
