"""The slow loop's workshop: proven experience becomes a LoRA adapter.

`model` makes a GGUF trainable, `losses` holds the arithmetic, `trainer` is the process that runs one job,
`gguf` turns its result into a file that the engine loads. Importing this package imports no torch.
"""
