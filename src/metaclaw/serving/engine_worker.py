"""The engine's own process: `python -m metaclaw.serving.engine_worker`.

One JSON line comes in on stdin (an `EngineSpec`), one goes out on stdout: `{"url": ...}` once the model is loaded,
or `{"error": ...}` and exit code 1. Then the llama.cpp server answers on loopback until stdin ends, which is both how
the owner stops it and what happens when the owner dies, however it dies. llama.cpp's log goes to stderr.

It imports next to nothing of MetaClaw, so that a worker costs the model and little else.
"""

from __future__ import annotations

import dataclasses
import fcntl
import json
import os
import secrets
import signal
import sys
from pathlib import Path
from typing import Any

from metaclaw.leash import die_with_parent

HTTP_THREADS = 320  # one is held by each open stream: 256 of them, and some for /health; a parked thread costs ~60 KB
LOG_ERRORS, LOG_ALL = 1, 3
# How long OpenMP's threads spin at a barrier before they sleep. With its default, two engines on two cores starve each
# other: 80 tokens each took over 45 s, against 3.7 s with 1000 (and 1.1 s alone, which is no slower than by default).
SPIN_COUNT = "1000"


@dataclasses.dataclass(frozen=True)
class EngineSpec:
    """What one engine serves, and how. Immutable: another adapter is another engine."""

    model_path: Path
    policy: str
    "Name of the policy version; every reply's `model` field says it."
    loras: tuple[Path, ...] = ()
    "GGUF adapters, in the order of the ids that a request's `lora` field uses."
    apply_loras: bool = True
    "Whether a request without a `lora` field is served with the adapters (at scale 1) or by the base alone."
    threads: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    slots: int = 4
    "Requests that are decoded together; others wait in line."
    context_tokens: int = 4096
    "Prompt and reply of one request."
    prompt_cache_mib: int = 512
    "RAM for prompts whose slot was taken by another one; 0 turns that off."
    api_key: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    "Only who knows it may use the engine; empty lets everybody on this machine."
    log_path: Path | None = None
    "Where llama.cpp's log is appended; None keeps it only to explain a failed start."
    verbose: bool = False
    "Log every request instead of errors alone."

    def to_json(self) -> str:
        """One line, paths as text; it holds the key, so it travels by pipe and never by command line."""
        return json.dumps(dataclasses.asdict(self), default=str)

    @classmethod
    def from_json(cls, line: str) -> EngineSpec:
        """The inverse of `to_json`."""
        fields = json.loads(line)
        fields["model_path"] = Path(fields["model_path"])
        fields["loras"] = tuple(Path(path) for path in fields["loras"])
        fields["log_path"] = Path(fields["log_path"]) if fields["log_path"] else None
        return cls(**fields)


def main() -> None:
    """Load, announce, serve until stdin ends. Leaves by `os._exit`: no C++ thread can hold it back."""
    die_with_parent()
    announce = _claim_stdout()
    spec = EngineSpec.from_json(sys.stdin.readline())
    _die_with_owner_while_loading(True)
    try:
        server = _serve(spec)
    except Exception as error:  # noqa: BLE001  llama.cpp raises RuntimeError, bad fields TypeError: all of it is told
        _say(announce, {"error": f"{type(error).__name__}: {error}"})
        os._exit(1)
    _die_with_owner_while_loading(False)
    _say(announce, {"url": server.listening_address})
    while sys.stdin.buffer.read(1024):
        pass
    os._exit(0)


def _claim_stdout() -> int:
    """A private descriptor for the one line; file descriptor 1 becomes stderr, so a stray print cannot spoil it."""
    announce = os.dup(1)
    os.dup2(2, 1)
    return announce


def _die_with_owner_while_loading(armed: bool) -> None:
    """Let the kernel end this process when stdin ends, as no Python thread can.

    xllamacpp holds the interpreter's lock for the whole load (measured: 3.2 s of 3.2). SIGIO on the pipe's end kills
    at once by its default action on Linux; elsewhere the owner's death is noticed when the load is done.
    """
    signal.signal(signal.SIGIO, signal.SIG_DFL)
    fcntl.fcntl(0, fcntl.F_SETOWN, os.getpid())
    flags = fcntl.fcntl(0, fcntl.F_GETFL)
    fcntl.fcntl(0, fcntl.F_SETFL, flags | os.O_ASYNC if armed else flags & ~os.O_ASYNC)


def _say(descriptor: int, message: dict[str, str]) -> None:
    os.write(descriptor, json.dumps(message).encode() + b"\n")


def _serve(spec: EngineSpec) -> Any:
    """A llama.cpp server, model loaded and listening; it stops only with the process."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)  # read once, when the next line loads libgomp
    import xllamacpp

    params = xllamacpp.CommonParams()
    _set_model(params, spec)
    _set_capacity(params, spec)
    _set_http(params, spec)
    scale = 1.0 if spec.apply_loras else 0.0  # `lora_init_without_apply` has no effect here: requests start from these
    params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(str(path), scale) for path in spec.loras]
    return xllamacpp.Server(params)


def _set_model(params: Any, spec: EngineSpec) -> None:
    params.model.path = str(spec.model_path)
    params.model_alias = {spec.policy}
    params.verbosity = LOG_ALL if spec.verbose else LOG_ERRORS


def _set_capacity(params: Any, spec: EngineSpec) -> None:
    params.n_parallel = spec.slots
    params.n_ctx = spec.slots * spec.context_tokens
    params.fit_params = False  # else llama.cpp may shrink the context by itself when memory is short
    params.cache_ram_mib = spec.prompt_cache_mib
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = spec.threads


def _set_http(params: Any, spec: EngineSpec) -> None:
    params.hostnames = ["127.0.0.1"]
    params.port = 0
    params.n_threads_http = HTTP_THREADS
    params.api_keys = [spec.api_key] if spec.api_key else []
    params.ui = False
    params.endpoint_slots = False  # it shows other requests' prompts


if __name__ == "__main__":
    main()
