"""Our training loop beside TRL's SFTTrainer: the same weights, conversations, adapter, batch and precision."""
