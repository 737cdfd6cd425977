"""The engine's own weights, made trainable.

Comes in: the GGUF file that the engine serves. Goes out: a folder of bf16 safetensors with the tokenizer, made once
and kept, and from it a model whose parameters are frozen. The tokenizer carries the GGUF's own chat template, so
that training sees exactly the tokens that the engine will see; `encode_chat` is the one place that renders it.

`run_layers` runs a part of the decoder. Layers below the first one that is adapted never change, so their output
is computed once for each example and not once for each step.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jinja2
import torch
from torch import Tensor

from metaclaw.errors import TemplateError, TrainingError

FORMAT = "1"
"""Part of the folder's name: raise it when what `prepare` writes changes."""

ARCHITECTURES = ("llama", "qwen2")
"""What the adapter converter knows as well; `model_type` in transformers and `general.architecture` in GGUF agree."""

Progress = Callable[[str], None]


def prepare(gguf_path: Path, cache_dir: Path, on_progress: Progress) -> Path:
    """The folder of trainable weights for `gguf_path`, dequantised on the first call (about a minute for 1.5B).

    The folder is named by content and appears whole or not at all. Raises `TrainingError` when the file cannot
    be read or its architecture is not supported.
    """
    folder = cache_dir / f"{gguf_path.stem}-{_digest(gguf_path)[:16]}-{FORMAT}"
    if folder.is_dir():
        return folder
    cache_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".preparing-", dir=cache_dir) as scratch:
        made = Path(scratch) / "model"
        _dequantise(gguf_path, made, on_progress)
        _publish(made, folder)
    return folder


def load_tokenizer(folder: Path) -> Any:
    from transformers import AutoTokenizer

    if not (folder / "config.json").is_file():
        raise TrainingError(f"{folder} holds no prepared model: run the preparation again")
    return AutoTokenizer.from_pretrained(folder, local_files_only=True)


def load(folder: Path, dtype: torch.dtype) -> tuple[Any, Any]:
    """The frozen model in evaluation mode and its tokenizer; bf16 weights are mapped from disk, not copied."""
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(folder)
    with _quiet():
        model = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, attn_implementation="sdpa", local_files_only=True
        )
    model.requires_grad_(False).eval()
    model.config.use_cache = False
    return model, tokenizer


def encode_chat(tokenizer: Any, messages: list[dict[str, Any]]) -> list[int]:
    """Token ids of the conversation up to and including the opening of the assistant's turn.

    Raises `TemplateError` where the chat template refuses it, by its own word or by what it does with the contents.
    """
    try:
        text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except (TypeError, jinja2.TemplateError) as error:
        raise TemplateError(f"The model's chat template cannot render a conversation: {error}.") from error
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def encode_reply(tokenizer: Any, reply: str) -> list[int]:
    """Token ids of a reply with the token that ends it, so that stopping is learned too."""
    return [*tokenizer(reply, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def run_layers(decoder: Any, prefix_1PD: Tensor, rows_BTD: Tensor, start: int, stop: int) -> tuple[Tensor, Tensor]:
    """Layers start..stop-1 of a decoder over rows that begin alike: (prefix, rows), hidden states before and after.

    The shared prefix (a system prompt, a skill) is computed once and every row attends to its keys and values;
    gradients flow through it. Rows are padded on the right, where causal attention never looks. Needs P >= 1.
    """
    prefix, rows = prefix_1PD.shape[1], rows_BTD.shape[1]
    positions_1S = torch.arange(prefix + rows).unsqueeze(0)
    cos, sin = decoder.rotary_emb(rows_BTD, position_ids=positions_1S)
    before, after = (cos[:, :prefix], sin[:, :prefix]), (cos[:, prefix:], sin[:, prefix:])
    sees_11TS = torch.ones(1, 1, rows, prefix + rows, dtype=torch.bool).tril(prefix)
    for layer in decoder.layers[start:stop]:
        shared = _SharedKeys()
        prefix_1PD = layer(prefix_1PD, attention_mask=None, past_key_values=shared, position_embeddings=before)
        rows_BTD = layer(rows_BTD, attention_mask=sees_11TS, past_key_values=shared, position_embeddings=after)
    return prefix_1PD, rows_BTD


class _SharedKeys:
    """One layer's keys and values (1, heads, P, width) of a prefix, put before those of every row of a batch."""

    def __init__(self) -> None:
        self._kept: tuple[Tensor, Tensor] | None = None

    def update(self, keys: Tensor, values: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor]:
        """What attention asks of a cache of transformers: first the prefix passes through, then the rows."""
        if self._kept is None:
            self._kept = keys, values
            return keys, values
        rows = keys.shape[0]
        kept_keys, kept_values = (kept.expand(rows, -1, -1, -1) for kept in self._kept)
        return torch.cat([kept_keys, keys], dim=2), torch.cat([kept_values, values], dim=2)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise TrainingError(f"cannot read the model weights {path}: {error}") from error


def _dequantise(gguf_path: Path, made: Path, on_progress: Progress) -> None:
    on_progress("reading the quantised weights")
    with _quiet():
        model, tokenizer = _read_gguf(gguf_path)
    if model.config.model_type not in ARCHITECTURES:
        raise TrainingError(f"cannot train a {model.config.model_type} model: only {', '.join(ARCHITECTURES)}")
    on_progress("saving trainable weights")
    with _quiet():
        model.save_pretrained(made)
        tokenizer.save_pretrained(made)


def _read_gguf(gguf_path: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    folder, name = str(gguf_path.parent), gguf_path.name
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, gguf_file=name, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
        )
        tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    except (OSError, ValueError, KeyError) as error:
        raise TrainingError(f"transformers cannot read {name}: {error}") from error
    tokenizer.chat_template = chat_template(gguf_path)
    _forget_quantisation(model)
    return model, tokenizer


def chat_template(gguf_path: Path) -> str:
    """The template that the engine renders with. Raises `TrainingError` when the file has none."""
    from gguf import GGUFReader

    field = GGUFReader(gguf_path).get_field("tokenizer.chat_template")
    if field is None:
        raise TrainingError(f"{gguf_path.name} has no chat template: it cannot be trained on conversations")
    return str(field.contents())


def _forget_quantisation(model: Any) -> None:
    """The weights are plain bf16 now; what is left of the quantiser would make `save_pretrained` refuse them."""
    for owner, name in ((model.config, "quantization_config"), (model, "hf_quantizer")):
        if hasattr(owner, name):
            delattr(owner, name)
    model.is_quantized = False


@contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of transformers on stderr while inside; ours are the events."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _publish(made: Path, folder: Path) -> None:
    """Rename into place; when another process was faster, its folder is as good as ours."""
    try:
        made.rename(folder)
    except OSError:
        if not folder.is_dir():
            raise
        shutil.rmtree(made)
