"""Serve the Tinker API on this machine, with SkyRL's JAX backend: `python scripts/tinker_server.py MODEL DATA`.

To be run by the Python of an environment of its own (`make test-tinker` makes one), since SkyRL's dependencies are not
ours. It listens on 127.0.0.1, on `--port` or a free one, and prints `{"url": ...}` when it has the port.

SkyRL 0.3.0 needs to be started from outside: its own command listens on every address, starts its engine through
`uv run` out of its source tree, and on Python 3.11 builds types that pydantic refuses. So the engine is started here,
by this file again, and those types are put right before they are built.
"""

from __future__ import annotations

import argparse
import json
import os
import runpy
import socket
import sys
import tempfile
import typing
from pathlib import Path
from typing import Any

ENGINE = "--as-engine"


def main(arguments: list[str]) -> None:
    import typing_extensions

    typing.TypedDict = typing_extensions.TypedDict  # type: ignore[assignment]
    if arguments[:1] == [ENGINE]:
        sys.argv = ["engine", *arguments[1:]]
        runpy.run_module("skyrl.tinker.engine", run_name="__main__", alter_sys=True)
    else:
        serve(_read(arguments))


def serve(told: argparse.Namespace) -> None:
    import uvicorn
    from skyrl.tinker import api
    from skyrl.tinker.config import EngineConfig, config_to_argv

    data = told.data.resolve()  # checkpoints are refused below a relative path
    data.mkdir(parents=True, exist_ok=True)
    api.app.state.engine_config = EngineConfig(
        base_model=str(told.model.resolve()),
        backend="jax",
        backend_config={
            "max_lora_adapters": told.adapters, "max_lora_rank": told.rank,
            "train_micro_batch_size": told.rows, "sample_max_num_sequences": told.rows,
        },
        checkpoints_base=data / "checkpoints",
        database_url=f"sqlite:///{data / 'tinker.db'}",
    )

    def engine_command(_: list[str], config: Any) -> list[str]:
        return [sys.executable, __file__, ENGINE, *config_to_argv(config)]

    api._build_uv_run_cmd_engine = engine_command
    with socket.create_server(("127.0.0.1", told.port)) as listening:
        print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
        uvicorn.Server(uvicorn.Config(api.app, log_level="warning")).run(sockets=[listening])


def _read(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="The Tinker API on this machine, by SkyRL.")
    parser.add_argument("model", type=Path, help="folder of the base model: config.json, tokenizer and safetensors")
    parser.add_argument("data", type=Path, help="folder for its database and checkpoints")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--rank", type=int, default=32, help="largest rank of an adapter")
    parser.add_argument("--adapters", type=int, default=4, help="adapters at the same time")
    parser.add_argument("--rows", type=int, default=8, help="rows that are trained or sampled at once")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "metaclaw-jax-cache"))
    main(sys.argv[1:])
