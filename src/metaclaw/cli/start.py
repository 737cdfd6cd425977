"""`metaclaw start`: weights, gateway, and a clean end."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import signal
import sys
import time
from collections.abc import Callable
from functools import partial

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from metaclaw import heap
from metaclaw.config.settings import Settings
from metaclaw.errors import ConfigError
from metaclaw.runtime.engines import Embedded
from metaclaw.runtime.gateway import Gateway
from metaclaw.runtime.home import Home
from metaclaw.runtime.trainable import weights_words
from metaclaw.training.process import ReportingProcess

try:
    import uvloop
except ImportError:  # on whatever Python it does not come for
    uvloop = None  # type: ignore[assignment, unused-ignore]

log = logging.getLogger(__name__)
console = Console(stderr=True)


def loop_for_many_requests() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """What makes the event loop of the gateway: a request takes a seventh less of the processor on uvloop's."""
    return uvloop.new_event_loop if uvloop else None


async def run_until_stopped(settings: Settings, embedded: Embedded | None) -> None:
    """Serve until SIGINT or SIGTERM. Raises `MetaClawError` for what cannot be served."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    heap.collect_less_often()
    async with Gateway(settings, embedded, heap.leave_alone_what_there_is) as gateway:
        at = f" on vLLM at {settings.serving.vllm_url}" if settings.serving.engine == "vllm" else ""
        answers = f"{embedded.name}{at}" if embedded else ", ".join(settings.provider_urls)
        tell = _teller(settings)
        tell(f"MetaClaw listens on {gateway.url}/v1 (upstream: {answers})")
        tell(f"Token: {settings.home / 'token'}")
        tell(f"Weights: {weights_words(settings)}.")
        await _first_of(stop.wait(), _serve(gateway, tell))
        tell("Stopping.")


def _teller(settings: Settings) -> Callable[[str], None]:
    """What a person should see; where machines read the log, as records of it."""
    if settings.log.format == "json":
        log.setLevel(logging.INFO)
        return log.info
    return partial(console.print, highlight=False, soft_wrap=True, markup=False)


def find_model(settings: Settings) -> Embedded | None:
    """The embedded model's file, downloaded if needed; None where a provider answers."""
    if not settings.embedded:
        return None
    from metaclaw.serving.weights import name_of, resolve

    if settings.serving.engine == "vllm" and not settings.training.enabled:  # nothing here reads the file
        return Embedded(name_of(settings.model.name), "")
    try:
        import xllamacpp  # noqa: F401 - only to say early that it is missing
    except ImportError as error:
        raise ConfigError(
            "The embedded model needs its engine: pip install 'metaclaw[local]'. Or name a provider with --upstream."
        ) from error
    with TerminalProgress() as progress:
        weights = resolve(settings.model.name, settings.weights_dir, progress)
    return Embedded(weights.name, str(weights.path))


def set_up_training(settings: Settings) -> None:
    """Download the embedded model and make its weights trainable, once, so that no training run has to.

    Raises `ConfigError` where a provider answers or the train extra is missing, `WeightsError` or `TrainingError` else.
    """
    embedded = find_model(settings)
    if embedded is None:
        raise ConfigError("Only the embedded model can be trained: leave upstream.url and [[upstreams]] out.")
    if importlib.util.find_spec("torch") is None:
        raise ConfigError("Training needs PyTorch: pip install 'metaclaw[train]'.")
    prepare = ReportingProcess("metaclaw.training.prepare", str(embedded.path), str(Home(settings).prepared))
    started = time.monotonic()
    with console.status("Making the weights trainable (once, about a minute and 3 GB of disk)"):
        asyncio.run(prepare.run(lambda event: console.print(f"  {event.get('phase', 'ready')}", highlight=False)))
    console.print(f"Trainable weights ready ({time.monotonic() - started:.0f} s)", highlight=False)


class TerminalProgress:
    """Progress bars on stderr; plain lines where that is not a terminal."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
            TimeRemainingColumn(), console=console, transient=False,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> TerminalProgress:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def start(self, label: str, total_bytes: int) -> None:
        self._task = self._progress.add_task(label, total=total_bytes)
        if not sys.stderr.isatty():
            console.print(f"{label} ({total_bytes / 1e6:.0f} MB)", highlight=False)

    def advance(self, n: int) -> None:
        if self._task is not None:
            self._progress.advance(self._task, n)

    def finish(self) -> None:
        """End the bar where it stands; one that never moved (a hub out of reach) goes away."""
        if self._task is None:
            return
        self._progress.stop_task(self._task)
        if not self._progress.tasks[self._progress.task_ids.index(self._task)].completed:
            self._progress.remove_task(self._task)
        self._task = None


async def _serve(gateway: Gateway, tell: Callable[[str], None]) -> None:
    await gateway.ready()
    tell(f"Ready: {gateway.health()['policy']}")
    await gateway.until_failure()


async def _first_of(stop: object, serve: object) -> None:
    """Until told to stop, or until something that must run has failed."""
    tasks = [asyncio.ensure_future(stop), asyncio.ensure_future(serve)]  # type: ignore[call-overload]
    done, waiting = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    for task in done:
        task.result()
