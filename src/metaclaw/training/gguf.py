"""A PEFT LoRA adapter, written as the GGUF file that llama.cpp loads.

Comes in: a folder with `adapter_config.json` and `adapter_model.safetensors`, and the GGUF of the base model that
it was trained on, which decides names and shapes. Goes out: one file, whole or not at all. Whatever the engine
would apply differently from PEFT (rsLoRA, DoRA, trained biases, whole modules) is refused, not approximated.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from metaclaw.errors import TrainingError

MODULES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
}
"""The linear layers of a decoder block: their path in transformers, their name in GGUF."""

ROTARY_PERMUTED = frozenset({"llama"})
"""Architectures whose GGUF interleaves the two halves of each rotary head in q and k; qwen2 keeps them apart."""

ARCHITECTURES = ROTARY_PERMUTED | {"qwen2"}

NAME = re.compile(r"base_model\.model\.model\.layers\.(\d+)\.(\w+\.\w+)\.lora_([AB])\.weight")

UNSUPPORTED = ("use_rslora", "use_dora", "fan_in_fan_out", "modules_to_save", "rank_pattern", "alpha_pattern")
"""Settings of PEFT that must be unset (or empty): the engine knows one rank and one alpha."""

Array = npt.NDArray[np.float32]


def convert_adapter(adapter_dir: Path, base_gguf: Path, out: Path) -> None:
    """Write the adapter in `adapter_dir` to `out`, for the engine that serves `base_gguf`.

    Raises `TrainingError` when the adapter uses what the engine cannot apply, or does not fit the base model.
    """
    import gguf

    config = _read_config(adapter_dir)
    base = gguf.GGUFReader(base_gguf)
    architecture = _text(base, "general.architecture")
    if architecture not in ARCHITECTURES:
        raise TrainingError(f"no adapter can be converted for the architecture {architecture!r}")
    heads = {"attn_q": _number(base, f"{architecture}.attention.head_count")}
    heads["attn_k"] = _number(base, f"{architecture}.attention.head_count_kv")
    tensors = _tensors(adapter_dir, heads if architecture in ROTARY_PERMUTED else {})
    _check_shapes(tensors, {tensor.name: tuple(map(int, tensor.shape)) for tensor in base.tensors})
    _write(out, architecture, float(config["lora_alpha"]), tensors)


def _read_config(adapter_dir: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((adapter_dir / "adapter_config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise TrainingError(f"{adapter_dir} holds no readable adapter_config.json: {error}") from error
    if config.get("peft_type") != "LORA":
        raise TrainingError(f"only LoRA adapters can be converted, this one is {config.get('peft_type')!r}")
    if config.get("bias", "none") != "none":
        raise TrainingError("an adapter with trained biases cannot be converted")
    if used := [name for name in UNSUPPORTED if config.get(name)]:
        raise TrainingError(f"the engine cannot apply these settings of the adapter: {', '.join(used)}")
    return config


def _tensors(adapter_dir: Path, heads: dict[str, int]) -> dict[str, Array]:
    """GGUF name -> A (rank, inputs) or B (outputs, rank); `heads` names the layers whose B rows are permuted."""
    from safetensors.numpy import load_file

    try:
        loaded = load_file(adapter_dir / "adapter_model.safetensors")
    except (OSError, ValueError) as error:
        raise TrainingError(f"{adapter_dir} holds no readable adapter_model.safetensors: {error}") from error
    tensors = {}
    for name, values in loaded.items():
        layer, module, side = _parse(name)
        permuted = side == "b" and module in heads
        stored = _interleave_halves(values, heads[module]) if permuted else values
        tensors[f"blk.{layer}.{module}.weight.lora_{side}"] = np.ascontiguousarray(stored, dtype=np.float32)
    return tensors


def _parse(name: str) -> tuple[int, str, str]:
    """Layer, GGUF module and side ("a" or "b") of a PEFT tensor."""
    found = NAME.fullmatch(name)
    if found is None or found[2] not in MODULES:
        raise TrainingError(f"the adapter holds {name}, which is no linear layer of a decoder block")
    return int(found[1]), MODULES[found[2]], found[3].lower()


def _interleave_halves(rows: Array, heads: int) -> Array:
    """(outputs, rank) with each head's first and second half taken in turn, as GGUF stores rotary layers."""
    outputs, rank = rows.shape
    return rows.reshape(heads, 2, outputs // heads // 2, rank).swapaxes(1, 2).reshape(outputs, rank)


def _check_shapes(tensors: dict[str, Array], base: dict[str, tuple[int, ...]]) -> None:
    """`base` holds (inputs, outputs) of each weight."""
    if not tensors:
        raise TrainingError("the adapter is empty")
    for name, values in tensors.items():
        weight, side = name.removesuffix(".lora_a").removesuffix(".lora_b"), name[-1]
        other = tensors.get(f"{weight}.lora_{'b' if side == 'a' else 'a'}")
        if other is None or weight not in base:
            raise TrainingError(f"{name} has no partner in the adapter or no weight in the base model")
        fits = values.shape[1] == base[weight][0] if side == "a" else values.shape[0] == base[weight][1]
        rank, other_rank = (values.shape[0], other.shape[1]) if side == "a" else (values.shape[1], other.shape[0])
        if not fits or rank != other_rank:
            raise TrainingError(f"{name} has shape {values.shape}, which does not fit {base[weight]} of the base model")


def _write(out: Path, architecture: str, alpha: float, tensors: dict[str, Array]) -> None:
    import gguf

    unfinished = out.with_name(out.name + ".unfinished")
    writer = gguf.GGUFWriter(unfinished, architecture)
    writer.add_string("general.type", "adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name in sorted(tensors):
        writer.add_tensor(name, tensors[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.replace(out)


def _text(reader: Any, key: str) -> str:
    return str(_field(reader, key).contents())


def _number(reader: Any, key: str) -> int:
    return int(_field(reader, key).contents())


def _field(reader: Any, key: str) -> Any:
    field = reader.get_field(key)
    if field is None:
        raise TrainingError(f"the base model's GGUF has no {key}")
    return field
