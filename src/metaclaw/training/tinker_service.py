"""The Tinker API, cloud or self-hosted, through its own client library: connect, wait, and fetch an adapter.

In: where it is, and its key by the name of an environment variable. Everything that fails comes out as `TrainingError`
that names the server. It is looked for before the library is asked to, which would try for minutes.
"""

from __future__ import annotations

import concurrent.futures
import io
import json
import os
import re
import tarfile
import threading
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from metaclaw.errors import TrainingError
from metaclaw.training.backend import Between
from metaclaw.training.package import CONFIG_FILE, PEFT_FILE
from metaclaw.training.recipe import Endpoint

CLOUD = "the Tinker cloud service"
NO_KEY = "tml-none"
"""A server of one's own asks for no key, but the library does, and one that begins so."""
LOOK_SECONDS, FETCH_SECONDS, POLL_SECONDS = 10.0, 300.0, 1.0
LARGEST_ADAPTER = 8 << 30  # bytes
LAYER = re.compile(r"\.(\w+)\.lora_[AB]\.")


class Service:
    """`client` is the library's `ServiceClient`, `types` its types. `between` is called while one waits."""

    def __init__(self, endpoint: Endpoint, between: Between) -> None:
        self.name = endpoint.url or CLOUD
        key = os.environ.get(endpoint.key_variable) or os.environ.get("TINKER_API_KEY")
        if not key and not endpoint.url:
            raise TrainingError(f"{CLOUD} needs a key: set training.tinker_api_key or TINKER_API_KEY")
        if endpoint.url:
            _look(endpoint.url)
        os.environ.setdefault("TINKER_TELEMETRY", "0")  # what we do is nobody's business but the user's
        try:
            import tinker
        except ImportError as error:
            raise TrainingError("The Tinker client is not installed: pip install 'metaclaw[tinker]'") from error
        self.types = tinker.types
        self._failures = (tinker.TinkerError, ValueError, OSError, concurrent.futures.CancelledError)
        self.client = self.call(between, tinker.ServiceClient, base_url=endpoint.url or None, api_key=key or NO_KEY)

    def call(self, between: Between, work: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """What the library offers only as a call that blocks: in a thread, so that one can stop waiting for it."""
        future: concurrent.futures.Future[Any] = concurrent.futures.Future()

        def run() -> None:
            try:
                future.set_result(work(*arguments, **options))
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return self.wait(future, between)

    def wait(self, future: Any, between: Between = lambda: None) -> Any:
        """The result of one of the library's futures."""
        found = future.future() if hasattr(future, "future") else future
        while not concurrent.futures.wait([found], POLL_SECONDS).done:
            between()
        try:
            return found.result()
        except self._failures as error:
            raise self._failed(error) from error

    def require(self, model: str, between: Between) -> None:
        """Raises `TrainingError` where the server has no such base model."""
        told = self.call(between, self.client.get_server_capabilities)
        names = sorted(one.model_name for one in told.supported_models if one.model_name)
        if names and model not in names:
            raise TrainingError(
                f"{self.name} has no model {model}; set training.tinker_model to one of {', '.join(names)}"
            )

    def fetch_adapter(self, path: str, base_model: str, folder: Path) -> None:
        """The sampler weights `path` as an adapter in PEFT's format."""
        # Named as the server names it: the cloud service says `sampler_weights/NAME`, SkyRL the name alone.
        run, _, name = path.removeprefix("tinker://").partition("/")
        rest = self.client.create_rest_client()
        told = self.wait(self.call(lambda: None, rest.get_checkpoint_archive_url, run, name))
        unpack_adapter(self.call(lambda: None, _get, told.url, FETCH_SECONDS), base_model, folder)

    def _failed(self, error: BaseException) -> TrainingError:
        return TrainingError(f"{self.name}: {type(error).__name__}: {' '.join(str(error).split())[:400]}")


def unpack_adapter(archive: bytes, base_model: str, folder: Path) -> None:
    """Of the archive only the weights and their configuration are taken, whatever else it holds and wherever.

    The configuration is completed: servers do not all say which layers they adapted, and name the base as they know it.
    """
    found = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(archive)) as packed:
            for member in packed:
                name = Path(member.name).name
                if member.isfile() and name in (PEFT_FILE, CONFIG_FILE) and (file := packed.extractfile(member)):
                    found[name] = file.read()
    except tarfile.TarError as error:
        raise TrainingError(f"The server's archive cannot be read: {error}") from error
    if missing := {PEFT_FILE, CONFIG_FILE} - found.keys():
        raise TrainingError(f"The server's archive is no adapter: it has no {' and no '.join(sorted(missing))}.")
    config = _object(found[CONFIG_FILE], CONFIG_FILE)
    header = _object(found[PEFT_FILE][8 : 8 + int.from_bytes(found[PEFT_FILE][:8], "little")], PEFT_FILE)
    config |= {
        "base_model_name_or_path": base_model, "task_type": "CAUSAL_LM",
        "target_modules": sorted(set(LAYER.findall("\n".join(header)))),
    }
    (folder / PEFT_FILE).write_bytes(found[PEFT_FILE])
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


def _object(raw: bytes, name: str) -> dict[str, Any]:
    try:
        found = json.loads(raw)
    except ValueError as error:
        raise TrainingError(f"The server's {name} cannot be read: {error}") from error
    if not isinstance(found, dict):
        raise TrainingError(f"The server's {name} holds no JSON object.")
    return found


def _look(url: str) -> None:
    try:
        _get(f"{url.rstrip('/')}/api/v1/healthz", LOOK_SECONDS)
    except OSError as error:
        raise TrainingError(
            f"No Tinker API answers at {url}: {error}. Is the server started, and training.tinker_url without a path?"
        ) from error


def _get(url: str, seconds: float) -> bytes:
    if not url.startswith(("http://", "https://")):
        raise TrainingError(f"{url} is no address to fetch from")
    with urllib.request.urlopen(url, timeout=seconds) as reply:  # noqa: S310 - looked at just above
        found: bytes = reply.read(LARGEST_ADAPTER)
    return found
