"""The candidates: adapters that were trained on nothing, and adapters that our trainer makes of given rows.

In: a seed, or rows. Out: the adapter's GGUF file. `chance` draws an adapter of random numbers so small that it changes
some answers and improves none; `nothing` is what a trainer that never stepped leaves.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from metaclaw.training.gguf import MODULES, convert_adapter
from metaclaw.training.process import ReportingProcess

RANK = 4
STRENGTH = 0.02  # of the random numbers: about a quarter of the answers then differ from the incumbent's


def nothing(base: Path, folder: Path) -> Path:
    return _random(base, folder, 0, 0.0)


def chance(base: Path, folder: Path, seed: int) -> Path:
    return _random(base, folder, seed, STRENGTH)


async def trained(base: Path, prepared: Path, folder: Path, rows: Sequence[dict[str, Any]], epochs: int) -> Path:
    """By the real trainer, in its own process. Raises `TrainingError`."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    job = {
        "model_dir": str(prepared), "base_gguf": str(base), "base_model": "smollm2-135m", "objective": "sft",
        "dtype": "float32", "epochs": epochs, "threads": 2, "batch_size": 8, "checkpoint_every_seconds": 1e9,
    }
    (folder / "job.json").write_text(json.dumps(job), encoding="utf-8")
    (folder / "dataset.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    await ReportingProcess("metaclaw.training.trainer", str(folder)).run(lambda _: None)
    return folder / "adapter.gguf"


def _random(base: Path, folder: Path, seed: int, strength: float) -> Path:
    import gguf
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    shapes = {tensor.name: tuple(map(int, tensor.shape)) for tensor in gguf.GGUFReader(base).tensors}
    layers = 1 + max(int(name.split(".")[1]) for name in shapes if name.startswith("blk."))
    source = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers // 2, layers):  # the half that our trainer adapts
        for path, module in MODULES.items():
            inputs, outputs = shapes[f"blk.{layer}.{module}.weight"]
            name = f"base_model.model.model.layers.{layer}.{path}"
            tensors[f"{name}.lora_A.weight"] = source.normal(0, inputs**-0.5, (RANK, inputs)).astype(np.float32)
            tensors[f"{name}.lora_B.weight"] = source.normal(0, strength, (outputs, RANK)).astype(np.float32)
    config = {"peft_type": "LORA", "lora_alpha": RANK, "r": RANK, "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(tensors, folder / "adapter_model.safetensors")
    convert_adapter(folder, base, folder / "adapter.gguf")
    return folder / "adapter.gguf"
