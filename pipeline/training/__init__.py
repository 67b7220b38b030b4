"""`fda finetune`: presets, batches, the training loop, checkpoints."""
