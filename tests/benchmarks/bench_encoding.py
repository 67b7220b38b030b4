"""Encoding clips from a store's arrays, against a bare forward loop over frames that are normalised already."""

from __future__ import annotations

import numpy as np
import torch

from encoders.encoding import Encoder
from encoders.inputs import vision_inputs
from encoders.weights import load_model
from tests.benchmarks.measure import interleaved, print_ratios

MODEL, NUM_CLIPS, NUM_FRAMES, BATCH, REPEATS = "ViT-B-32-quickgelu", 8, 12, 48, 3


def main() -> None:
    """Measure, and print the ratios."""
    loaded = load_model(MODEL, "none", None, seed=0)
    size = loaded.config.image_size
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 256, (NUM_CLIPS, NUM_FRAMES, size, size, 3), dtype=np.uint8)
    masks = rng.random((NUM_CLIPS, NUM_FRAMES, size, size)) < 0.1
    encoder = Encoder(loaded.model, batch_frames=BATCH)
    images, alpha = vision_inputs(frames.reshape(-1, size, size, 3), masks.reshape(-1, size, size), torch.device("cpu"))

    def bare_forward() -> None:
        with torch.inference_mode():
            for start in range(0, len(images), BATCH):
                loaded.model.encode_frames(images[start : start + BATCH], alpha[start : start + BATCH])

    seconds = interleaved({"bare forward": bare_forward, "fda": lambda: encoder.encode_clips(frames, masks)}, REPEATS)
    print_ratios(f"encoding {NUM_CLIPS} clips of {NUM_FRAMES} frames, {MODEL}, float32", seconds, "bare forward")


if __name__ == "__main__":
    main()
