"""The process `python -m metaclaw.bench.trainer.trl_side JOB_DIR CHECKPOINTING`: our job's folder, trained by TRL.

It takes from `job.json` what our trainer takes, and the very same tokens, since what TRL would make of the
conversations is no part of the comparison. It says the same events: `tokenised` before the training, `saving` behind
it, `done` with the tokens and the memory. CHECKPOINTING is `on`, as TRL has it by default, or `off`.
"""

from __future__ import annotations

import json
import resource
import sys
from pathlib import Path
from typing import Any

import torch

from metaclaw.leash import die_with_parent
from metaclaw.training.examples import encode
from metaclaw.training.gguf import MODULES
from metaclaw.training.recipe import read_job, read_rows
from metaclaw.training.student import first_adapted_layer

UNSEEN = -100  # no loss there


def main(folder: Path, checkpointing: bool) -> None:
    from datasets import Dataset
    from peft import LoraConfig
    from pyarrow import Table
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    die_with_parent()
    job = read_job(folder)
    torch.set_num_threads(job.threads)
    tokenizer = AutoTokenizer.from_pretrained(job.model_dir, local_files_only=True)
    model = AutoModelForCausalLM.from_pretrained(job.model_dir, dtype=getattr(torch, job.dtype), local_files_only=True)
    layers = model.config.num_hidden_layers
    examples = [encode(tokenizer, row) for row in read_rows(folder)]
    rows = [
        {"input_ids": [*one.prompt, *one.reply], "labels": [UNSEEN] * len(one.prompt) + list(one.reply)}
        for one in examples
    ]
    settings = SFTConfig(
        output_dir=str(folder / "trl"), num_train_epochs=job.epochs, per_device_train_batch_size=job.batch_size,
        learning_rate=job.learning_rate, lr_scheduler_type="cosine", warmup_steps=job.warmup_share, seed=job.seed,
        max_grad_norm=job.clip_norm, max_length=job.max_tokens, completion_only_loss=True,
        dataset_kwargs={"skip_prepare_dataset": True}, use_cpu=True, bf16=False,
        gradient_checkpointing=checkpointing, save_strategy="no", report_to="none", logging_strategy="no",
        disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    lora = LoraConfig(
        r=job.rank, lora_alpha=job.alpha, lora_dropout=0.0, target_modules=[p.rsplit(".", 1)[1] for p in MODULES],
        layers_to_transform=list(range(first_adapted_layer(layers, job.adapted_share), layers)),
        layers_pattern="layers", task_type="CAUSAL_LM",
    )  # fmt: skip
    data = Dataset(Table.from_pylist(rows), fingerprint="bench")  # else it hashes a class that pyarrow 26 hides
    trainer: Any = SFTTrainer(
        model=model, args=settings, train_dataset=data, processing_class=tokenizer, peft_config=lora
    )
    tokens = sum(one.tokens for one in examples) * job.epochs
    trained = sorted({str(p.dtype) for p in trainer.model.parameters() if p.requires_grad})
    count = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    _say("phase", phase="tokenised")
    result = trainer.train()
    _say("phase", phase="saving")
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    _say("done", tokens=tokens, peak_rss_mb=memory, loss=result.training_loss, trained=trained, parameters=count)


def _say(event: str, **facts: Any) -> None:
    print(json.dumps({"event": event, **facts}), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2] == "on")
