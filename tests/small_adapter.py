"""An adapter's folder as a trainer leaves it, with a few bytes for weights."""

from __future__ import annotations

import json
from pathlib import Path


def write_adapter(folder: Path, weights: bytes = b"weights") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_model.safetensors").write_bytes(safetensors(weights))
    (folder / "adapter.gguf").write_bytes(b"GGUF of " + weights)
    (folder / "adapter_config.json").write_text("{}", encoding="utf-8")
    return folder


def safetensors(weights: bytes) -> bytes:
    """One tensor of bytes, in the real format."""
    tensor = {"dtype": "U8", "shape": [len(weights)], "data_offsets": [0, len(weights)]}
    header = json.dumps({"__metadata__": {"format": "pt"}, "lora_A": tensor}).encode()
    return len(header).to_bytes(8, "little") + header + weights
