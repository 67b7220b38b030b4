"""Alpha-CLIP: the model, its weights, fine-tuning and encoding. All of torch lives here."""
