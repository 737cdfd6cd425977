"""An adapter's folder in the registry is a PEFT adapter for anybody: it loads without us, and says the same."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from metaclaw.store import Database
from metaclaw.training.registry import GGUF_FILE, Registry
from support import NAMESPACE

ELSEWHERE = """
import sys
sys.modules["metaclaw"] = None  # not a line of ours
import json, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
base = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.float32)
tokens = torch.tensor([json.loads(sys.argv[3])])
with torch.no_grad():
    plain = base(tokens).logits[0, -1].tolist()
    adapted = PeftModel.from_pretrained(base, sys.argv[2]).eval()(tokens).logits[0, -1].tolist()
print(json.dumps({"plain": plain, "adapted": adapted}))
"""
TOKENS = [3, 1, 4, 1, 5, 9, 2, 6]


def tiny_model(folder: Path) -> Any:
    """A Llama of two layers with random weights, saved as anybody saves one."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(7)
    config = LlamaConfig(
        vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2,
    )
    model = LlamaForCausalLM(config).eval()
    model.save_pretrained(folder)
    return model


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks, transformers warns
def test_the_registrys_folder_loads_in_peft_without_us(tmp_path: Path, database: Database) -> None:
    torch = pytest.importorskip("torch")
    peft = pytest.importorskip("peft")
    model = tiny_model(tmp_path / "base")
    adapted = peft.get_peft_model(
        model, peft.LoraConfig(r=2, lora_alpha=4, target_modules=["q_proj", "v_proj", "down_proj"])
    ).eval()
    with torch.no_grad():
        for name, values in adapted.named_parameters():
            if "lora_B" in name:
                values.copy_(torch.randn(values.shape))
        ours = adapted(torch.tensor([TOKENS])).logits[0, -1].tolist()
    adapted.save_pretrained(tmp_path / "trained")
    (tmp_path / "trained" / GGUF_FILE).write_bytes(b"GGUF, which PEFT leaves alone")
    registry = Registry(database, NAMESPACE, tmp_path / "adapters")
    adapter = registry.checked(registry.register(tmp_path / "trained", "tiny", None, {"job": "train-1"}).name)
    done = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "base"), adapter.folder, json.dumps(TOKENS)],
        capture_output=True, text=True,
    )
    assert done.returncode == 0, done.stderr
    theirs = json.loads(done.stdout.splitlines()[-1])
    assert theirs["adapted"] == pytest.approx(ours, abs=1e-4)
    assert theirs["plain"] != pytest.approx(ours, abs=1e-2), "the adapter must be heard"
