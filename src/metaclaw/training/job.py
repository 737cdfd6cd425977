"""The slow loop's one job: dataset, training, gate, promotion. Every step leaves a file, so that it can be resumed.

    dataset.jsonl, manifest.jsonl, held_out.json   what is learned from, why, and what it is measured on
    job.json, checkpoint.*, result.json            the trainer's own (see `training.trainer`)
    comparison.json                                the gate's pairs (see `training.judging`)

It is paused and resumed by the scheduler: the trainer stops where it stands, and no question is put to a model.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from metaclaw.config.fast_loop import JudgeSettings
from metaclaw.config.slow_loop import TrainingSettings
from metaclaw.errors import (
    ChildInterruptedError,
    EngineError,
    LeaseLostError,
    MetaClawError,
    OvertakenError,
    StoreError,
    TrainingError,
    UpstreamError,
)
from metaclaw.journal.erasing import erased_among
from metaclaw.scheduler.leases import RENEW_SECONDS
from metaclaw.store import Database
from metaclaw.store.verdicts import figures
from metaclaw.training import outside
from metaclaw.training.dataset import Candidate, Dataset
from metaclaw.training.dataset_files import write_dataset
from metaclaw.training.files import write_whole
from metaclaw.training.gate import LEAST_TO_TELL
from metaclaw.training.job_folder import entered, tidy, wipe
from metaclaw.training.jobs import ERASED, JobRow, Jobs
from metaclaw.training.judging import Judging
from metaclaw.training.process import Event, ReportingProcess
from metaclaw.training.questions import BESIDE_THE_USER, MAX_UNRELATED_TOKENS, anchors, as_user, body, in_order
from metaclaw.training.quiet import Quiet
from metaclaw.training.renewal import AskAgain, plain, renew
from metaclaw.training.selection import Evidence, Selection, newest, renewable, select, still_eligible
from metaclaw.training.steps import with_step
from metaclaw.types import Message

log = logging.getLogger(__name__)

MOST_STARTS = 3
MOST_STUMBLES = 3  # in one phase, over engines that do not start and disks that are full
LEAST_TURNS = 2  # one to learn from, one to be measured on; for who asks for training now
SMALL_MODEL_BYTES = 400_000_000  # the smallest models lose their wits in bf16 (measured on SmolLM2-135M)
TAKEN_OVER = "Another learner has taken this namespace's training over."
OVERTAKEN = (
    "The library has changed since this job chose what to learn from, and some of it may not train any more. The next"
    " job begins with what may."
)

Ask = Callable[[dict[str, Any]], Coroutine[Any, Any, str]]

T = TypeVar("T")


class TrainingJob:
    """Handed everything it needs; `evidence` is the library's."""

    def __init__(
        self,
        database: Database,
        namespace: str,
        settings: TrainingSettings,
        base_model: str,
        base_gguf: Path,
        prepared_dir: Path,
        jobs: Jobs,
        ask: Ask,
        evidence: Callable[[], Evidence],
        judging: Judging,
        judge: JudgeSettings | None = None,
        ask_again: AskAgain | None = None,
        prepare_module: str = "metaclaw.training.prepare",
        trainer_module: str = "metaclaw.training.trainer",
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._settings = settings
        self._base_model = base_model
        self._base_gguf = base_gguf
        self._prepared_dir = prepared_dir
        self._jobs = jobs
        self._ask = ask
        self._evidence = evidence
        self._judging = judging
        self._judge = judge
        self._ask_again = ask_again
        self._prepare_module = prepare_module
        self._trainer_module = trainer_module
        self._quiet = Quiet()
        self._process: ReportingProcess | None = None
        self._row: JobRow | None = None
        self._progress: dict[str, Any] = {}
        self._halted = asyncio.Event()
        self._why_halted: MetaClawError | None = None
        # What the journal was when it last held too little, and for how much.
        self._found_too_little: tuple[int, int, int, int] | None = None

    def ready(self, asked: bool = False) -> bool:
        """An unfinished job; or enough proven turns that no finished job has seen, enough of them for the gate, and
        neither a skill in the making nor an adapter on trial. Turns that may prove themselves again count as proven.
        """
        needed = LEAST_TURNS if asked else self._settings.min_new_turns
        latest = self._jobs.latest()
        if latest is not None and latest.state in ("running", "paused"):
            return True
        if self._judging.busy() and not asked:
            return False
        evidence = self._evidence()
        seen = (needed, evidence.generation, *newest(self._database))
        if not evidence.settled or seen == self._found_too_little:
            return False
        selection = self._select(explain=False)
        through = self._jobs.trained_through(self._base_model)
        fresh, held_out = selection.fresh(through), len(selection.data.query)
        if fresh < needed or held_out < LEAST_TO_TELL:
            may_count = self._renewable(selection)
            fresh += sum(one.turn.position > through for one in may_count)
            held_out += len(may_count) // 2
        enough = fresh >= needed and held_out >= LEAST_TO_TELL
        self._found_too_little = None if enough else seen
        return enough

    def pause(self) -> None:
        self._quiet.end()
        for part in (self._process, self._judging.arena):
            if part:
                part.pause()
        self._report("paused")

    def resume(self) -> None:
        """Go on, unless another learner took it over meanwhile (the machine may have slept), or what it learns from may
        not train any more (the user was there).
        """
        if self._row and (why := self._why_not_go_on(self._row)):
            self._why_halted = why
            self._halted.set()
            return
        self._quiet.begin()
        for part in (self._process, self._judging.arena):
            if part:
                part.resume()
        self._report("running")

    def _why_not_go_on(self, row: JobRow) -> MetaClawError | None:
        """Where the store does not tell, it counts as lost: it is then taken up again from its checkpoint."""
        try:
            if not self._jobs.holds(row):
                return LeaseLostError(TAKEN_OVER)
            self._require_kept(row.folder)
        except StoreError:
            return LeaseLostError(TAKEN_OVER)
        except TrainingError as error:
            return error
        return None

    def _ours(self, row: JobRow) -> bool:
        """Whether we hold it; no, where the store does not tell."""
        try:
            return self._jobs.holds(row)
        except StoreError:
            return False

    async def run(self) -> None:
        """From the journal to a verdict. Raises `TrainingError`, and the job then counts as failed: `OvertakenError`
        where the next one may begin at once. Raises `LeaseLostError` where another learner has it.
        """
        self._halted.clear()
        self._why_halted = None
        row = self._jobs.take()
        if row is None:
            raise LeaseLostError("Another learner works for this namespace.")
        self._row, self._progress = row, dict(row.progress)
        row.folder.mkdir(parents=True, exist_ok=True)
        try:
            await self._while_ours(self._steps(row.folder), row)
        except TrainingError as error:
            if isinstance(error, OvertakenError):
                wipe(row.folder)  # now that its trainer has ended, which leaves a checkpoint
            self._progress["error"] = str(error)
            await self._finish(row, "failed")
            raise
        except (EngineError, UpstreamError, OSError) as error:
            await self._stumble(row, error)
            raise
        finally:
            self._row = None
            self._quiet.begin()  # the next one is not paused because this one ended so
        await self._finish(row, "done")

    async def _steps(self, folder: Path) -> None:
        if decided := self._judging.decided(folder):
            self._take_down(decided)
            return
        if self._progress.get("base_model", self._base_model) != self._base_model:
            raise TrainingError("Another base model is served than this job began with: a new job begins at that one.")
        await self._build_dataset(folder)
        await self._train(folder)
        await self._decide(folder)

    async def _while_ours(self, steps: Coroutine[Any, Any, None], row: JobRow) -> None:
        """Do the steps and keep the lease; stop them, and raise, when it is lost or they may not go on."""
        tasks = [asyncio.create_task(one) for one in (steps, self._keep_lease(row), self._halted.wait())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        if tasks[0] not in done:
            raise self._why_halted or LeaseLostError(TAKEN_OVER)
        tasks[0].result()

    async def _stumble(self, row: JobRow, error: Exception) -> None:
        """What the job cannot help may be over in the next window, which takes it up again; but not for ever."""
        phase, before = self._progress.get("phase"), self._progress.get("stumbled", {})
        times = before.get("times", 0) + 1 if before.get("phase") == phase else 1
        self._progress["stumbled"] = {"phase": phase, "times": times}
        if times >= MOST_STUMBLES:
            self._progress["error"] = f"{error} ({times} times in the phase '{phase}')"
            await self._finish(row, "failed")
        else:
            await asyncio.wrap_future(self._jobs.report(row, "paused", self._progress))

    async def _finish(self, row: JobRow, state: str) -> None:
        """The last word on the job is stored before it ends: whoever looks next must not find it running."""
        self._row = None
        if not await asyncio.wrap_future(self._jobs.report(row, state, self._progress)):
            raise LeaseLostError(TAKEN_OVER)
        all_there_is = state == "failed" and self._settings.backend == "tinker"  # a server's, which we cannot serve
        tidy(row.folder, *(["adapter"] if all_there_is else []))

    async def _keep_lease(self, row: JobRow) -> None:
        """Report now and then, so that a job which is paused for long stays ours. Ends when it no longer is, or may not
        go on.
        """
        while True:
            await asyncio.sleep(RENEW_SECONDS)
            state = "running" if self._quiet.lasts else "paused"
            try:
                kept = await asyncio.wrap_future(self._jobs.report(row, state, self._progress))
            except StoreError:  # locked, full: the lease that we have still holds for a while
                kept = self._ours(row)
            self._why_halted = self._why_not_go_on(row) if kept else LeaseLostError(TAKEN_OVER)
            if self._why_halted:
                return

    async def _build_dataset(self, folder: Path) -> None:
        if (folder / "dataset.jsonl").exists():
            return
        self._phase("dataset")
        evidence, selection = self._evidence(), self._select()
        if self._ask_again and (candidates := self._renewable(selection)):
            await self._renew(evidence.generation, candidates, self._ask_again)
            self._phase("dataset")
            evidence, selection = self._evidence(), self._select()
        data = selection.data
        if len(data.train) < LEAST_TURNS or len(data.query) < LEAST_TO_TELL:
            raise TrainingError(
                f"There is too little to learn from: {len(data.train)} proven turns to train on, and {len(data.query)}"
                f" to test on, of which the gate needs {LEAST_TO_TELL} before it could let any adapter serve. Work on."
            )
        self._progress |= {
            "base_model": self._base_model, "generation": evidence.generation, "through": selection.through,
            "examples": len(data.train), "held_out": len(data.query), "retention": len(data.retention),
            "safety": len(data.safety),
        }
        replay = await self._rehearsals(data)
        write_dataset(folder, data, replay, self._base_model)

    def _renewable(self, selection: Selection) -> list[Candidate]:
        """What there is to be asked again, as far as there is room for it beside what is proven."""
        if self._ask_again is None:
            return []
        room = min(self._settings.renew_turns, self._settings.max_examples - len(selection.data.train))
        return plain(renewable(self._database, self._namespace, room)) if room > 0 else []

    async def _renew(self, generation: int, candidates: Sequence[Candidate], ask: AskAgain) -> None:
        """Ask turns of older generations again, so that a change of the library late in a day does not cost the day."""
        self._phase("asking again")
        failures = self._progress.setdefault("failures", {})
        hold = await renew(self._database, self._namespace, generation, candidates, ask, self._quietly, failures)
        self._progress["asked_again"] = {"turns": len(candidates), "hold": hold}

    async def _rehearsals(self, data: Dataset) -> list[tuple[list[Message], str]]:
        """What the model is made to remember: a third its own good turns without skills, the rest general answers."""
        count = self._settings.replay_examples
        kept = [(example.messages, example.reply) for example in data.replay[: count // 3]]
        general = anchors("replay")[: count - len(kept)]
        return kept + await in_order((self._rehearsal(as_user(prompt)) for prompt in general), BESIDE_THE_USER)

    async def _rehearsal(self, messages: list[Message]) -> tuple[list[Message], str]:
        return messages, await self._quietly(partial(self._ask, body(messages, MAX_UNRELATED_TOKENS)))

    async def _train(self, folder: Path) -> None:
        self._require_kept(folder)
        if (folder / "result.json").exists():
            return
        self._phase("preparing weights")
        made = await self._child(self._prepare_module, str(self._base_gguf), str(self._prepared_dir))
        write_whole(folder / "job.json", json.dumps(self._trainer_settings(str(made["folder"])), indent=2))
        self._phase("training")
        await self._child(self._trainer_module, str(folder), secrets=outside.keys(self._settings, self._judge))

    def _trainer_settings(self, model_dir: str) -> dict[str, Any]:
        """What the trainer must be told; the rest is its measured recipe."""
        job: dict[str, Any] = {
            "model_dir": model_dir,
            "base_gguf": str(self._base_gguf),
            "base_model": self._base_model,
            "objective": self._settings.objective,
            "dtype": "float32" if self._base_gguf.stat().st_size < SMALL_MODEL_BYTES else "bfloat16",
            "epochs": self._settings.epochs,
            "threads": self._settings.threads or os.cpu_count(),
            "kl_budget": self._settings.kl_budget,
            **outside.endpoints(self._settings, self._judge),
        }
        return {key: value for key, value in job.items() if value is not None}

    async def _decide(self, folder: Path) -> None:
        self._require_kept(folder)
        self._phase("gate")
        compared = await self._judging.compare(folder, self._quietly)
        self._require_kept(folder)
        if self._row and not self._jobs.holds(self._row):
            raise LeaseLostError(TAKEN_OVER)
        self._take_down(self._judging.decide(folder, compared, self._progress.get("generation")))

    def _take_down(self, decided: Mapping[str, Any]) -> None:
        """What was decided, in figures: its texts stand with the adapter alone."""
        self._progress |= {**decided, "verdict": figures(decided["verdict"])}

    def _require_kept(self, folder: Path) -> None:
        """Raise `OvertakenError` where some of what entered was erased since, or may not train any more: as support, or
        since the library has a new generation.
        """
        turn_ids = entered(folder)
        if erased_among(self._database, self._namespace, turn_ids):
            raise OvertakenError(ERASED)
        if not still_eligible(self._database, self._namespace, turn_ids):
            raise OvertakenError(OVERTAKEN)

    async def _quietly(self, question: Callable[[], Coroutine[Any, Any, T]], /) -> T:
        """A `Quietly` that counts the questions."""
        answer = await self._quiet.ask(question)
        self._count("asked")
        return answer

    async def _child(self, module: str, *arguments: str, secrets: Mapping[str, str] | None = None) -> Event:
        """Run a process of ours; one that is killed starts again, from its checkpoint if it keeps one."""
        for attempt in range(1, MOST_STARTS + 1):
            await self._quiet.wait()
            self._process = ReportingProcess(module, *arguments, secrets=secrets)
            try:
                return await self._process.run(self._on_event)
            except ChildInterruptedError as error:
                self._count("interruptions")
                log.warning("%s Start %d of %d.", error, attempt, MOST_STARTS)
            finally:
                self._process = None
        raise TrainingError(f"{module} was stopped from outside {MOST_STARTS} times. Is there enough memory?")

    def _on_event(self, event: Event) -> None:
        self._progress["trainer"] = {**self._progress.get("trainer", {}), **event}
        if event.get("event") == "step":
            self._progress["steps"] = with_step(self._progress.get("steps", ()), event)
        self._report("running" if self._quiet.lasts else "paused")

    def _phase(self, name: str) -> None:
        self._progress |= {"phase": name, "phase_started": time.time()}
        self._report("running")

    def _count(self, key: str) -> None:
        self._progress[key] = self._progress.get(key, 0) + 1
        self._report("running")

    def _report(self, state: str) -> None:
        if self._row:
            self._jobs.report(self._row, state, self._progress)

    def _select(self, *, explain: bool = True) -> Selection:
        return select(self._database, self._namespace, self._settings.max_examples, explain=explain)
