"""What the folder of an adapter may hold: PEFT's safetensors, its configuration, the GGUF form, and nothing that runs.

In: a folder. Out: the SHA-256 of each file. A pickle is code that runs when it is loaded, so it is refused by its name
and by its first bytes; the weights are taken only where their header accounts for every byte of the file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from metaclaw.errors import TrainingError

PEFT_FILE, GGUF_FILE, CONFIG_FILE, MANIFEST_FILE = (
    "adapter_model.safetensors", "adapter.gguf", "adapter_config.json", "manifest.json"
)
NEEDED = (PEFT_FILE, GGUF_FILE)
ALLOWED = frozenset({*NEEDED, CONFIG_FILE, "README.md"})
PICKLED_NAMES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")
ZIP, PICKLE = b"PK\x03\x04", b"\x80"  # torch.save writes a zip with a pickle in it, or, of old, a pickle
PICKLE_PROTOCOLS = range(2, 6)
LARGEST_HEADER = 100_000_000  # bytes: what the reference reader of safetensors takes
BLOCK = 1 << 20


def files_of(folder: Path) -> dict[str, str]:
    """The SHA-256 of every file but the manifest, by name. Raises `TrainingError` where it is no adapter of ours."""
    for name in NEEDED:
        if not (folder / name).is_file():
            raise TrainingError(f"{folder} is not an adapter: it has no {name}.")
    found = {}
    for path in sorted(folder.iterdir()):
        if path.name == MANIFEST_FILE:
            continue
        _require_harmless(path)
        found[path.name] = sha256_of(path)
    _require_safetensors(folder / PEFT_FILE)
    if _beginning(folder / GGUF_FILE, 4) != b"GGUF":
        raise TrainingError(f"{folder / GGUF_FILE} is no GGUF file.")
    return found


def sha256_of(*paths: Path) -> str:
    """Of all the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                digest.update(block)
    return digest.hexdigest()


def _require_harmless(path: Path) -> None:
    start = _beginning(path, 4) if path.is_file() else b""
    pickled = start[:1] == PICKLE and len(start) > 1 and start[1] in PICKLE_PROTOCOLS
    if path.suffix.lower() in PICKLED_NAMES or start == ZIP or pickled:
        raise TrainingError(f"{path} is pickled, and would run code when it is loaded. Only safetensors are taken.")
    if path.is_symlink() or not path.is_file() or path.name not in ALLOWED:
        raise TrainingError(f"{path} does not belong into an adapter, which holds {', '.join(sorted(ALLOWED))}.")


def _require_safetensors(path: Path) -> None:
    """Its length, then a JSON header that says where each tensor lies, then the tensors without a gap."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = _object(file.read(length)) if 8 + length <= size and length <= LARGEST_HEADER else None
    spans = sorted(_spans(header)) if header else []
    ends = [0, *(end for _, end in spans)]
    gapless = all(start == before for (start, _), before in zip(spans, ends, strict=False))
    if not spans or not gapless or 8 + length + ends[-1] != size:
        raise TrainingError(f"{path} is no whole safetensors file.")


def _object(raw: bytes) -> dict[str, Any] | None:
    try:
        header = json.loads(raw)
    except ValueError:
        return None
    return header if isinstance(header, dict) else None


def _spans(header: dict[str, Any]) -> list[tuple[int, int]]:
    """Where each tensor begins and ends; (-1, -1), which fits nowhere, for one that does not say it."""
    spans = []
    for name, tensor in header.items():
        if name == "__metadata__":
            continue
        match tensor:
            case {"data_offsets": [int(start), int(end)], "dtype": str(), "shape": list()} if 0 <= start <= end:
                spans.append((start, end))
            case _:
                spans.append((-1, -1))
    return spans


def _beginning(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)
