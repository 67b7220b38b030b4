"""Encoding a store, from its shards to committed features, against a bare forward loop over tensors in memory.

On a CPU ViT-B/32, in both precisions where it computes in bfloat16; on a GPU ViT-B/16 and ViT-L/14 in bf16, with the
share of the device's peak that the model's operations use. The bare loop runs the model as it trains, in batches of the
same size, and encodes each frame once; `fda encode` also encodes one video of 32 a second time, with all ones as alpha.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch

from encoders.devices import computes_bf16, find_device, move_to
from encoders.encoding.encoder import BATCH_FRAMES_CPU, BATCH_FRAMES_GPU, Encoder, lowest_cosine
from encoders.encoding.precision import dtype_of
from encoders.model import AlphaClip
from encoders.options import Precision
from encoders.weights.loading import LoadedModel, load_model
from pipeline.features.encode import encode_splits as encode_store
from pipeline.features.encoders import EncoderHere
from pipeline.features.options import FeatureRecipe
from pipeline.run.options import RunOptions
from store.clips.reader import ClipReader
from store.store import Store
from tests.benchmarks.bench_reading import make_store
from tests.benchmarks.flops import frame_flops
from tests.benchmarks.measure import Row, Table, paired_seconds, print_table
from tests.benchmarks.quoted import quote
from tests.encoders_tiny import vision_inputs

PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0}
"""Dense bf16, as NVIDIA states it, by a part of the device's name."""
NUM_FRAMES = {"msvd": 1200 * 24 + 770 * 12, "msrvtt": 9000 * 24 + 1000 * 12}
"""Of all videos of a data set, as the preset `fda-clip` keeps them."""


def main(*, quick: bool = False) -> None:
    """Measure, and print the ratios."""
    device = find_device("auto")
    on_gpu = device.type == "cuda"
    models = ("ViT-B-16-quickgelu", "ViT-L-14-quickgelu") if on_gpu else ("ViT-B-32-quickgelu",)
    num_videos = 2 if quick else 2048 if on_gpu else 12
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", num_videos)
        for model in models:
            loaded = load_model(model, "none")
            move_to(loaded.model, str(device))
            _measure(store, loaded, on_gpu=on_gpu, repeats=1 if quick else 3 if on_gpu else 7)


def _measure(store: Store, loaded: LoadedModel, *, on_gpu: bool, repeats: int) -> None:
    num_videos, num_frames = store.layout("test").num_videos, store.layout("test").num_frames
    reader = ClipReader(store, "test", "default")
    some = reader.read(list(range(min(num_videos, 16))))
    batch = BATCH_FRAMES_GPU if on_gpu else BATCH_FRAMES_CPU
    device = loaded.model.logit_scale.device
    size = loaded.config.image_size
    images, alpha = vision_inputs(some.frames.reshape(-1, size, size, 3), some.masks.reshape(-1, size, size), device)
    methods: dict[str, Callable[[], None]] = {}
    # Without instructions for bfloat16, a CPU takes several times as long for it: `--precision auto` is fp32 there.
    precisions: tuple[Precision, ...] = (Precision.FP32, Precision.BF16)
    if on_gpu or not computes_bf16(device):
        precisions = (Precision.BF16,) if on_gpu else (Precision.FP32,)
    for precision in precisions:
        encoder = Encoder(loaded.model, precision=precision)
        inputs = images.to(dtype_of(precision)), alpha.to(dtype_of(precision))
        tower = loaded.model if precision is Precision.FP32 else copy.deepcopy(loaded.model).to(dtype_of(precision))

        def bare(inputs: tuple[torch.Tensor, torch.Tensor] = inputs, tower: AlphaClip = tower) -> None:
            with torch.inference_mode():
                done = 0
                while done < num_videos * num_frames:
                    start = done % len(inputs[0])
                    stop = min(start + batch, len(inputs[0]), start + num_videos * num_frames - done)
                    tower.encode_frames(inputs[0][start:stop], inputs[1][start:stop])
                    done += stop - start
                if on_gpu:
                    torch.cuda.synchronize()

        def whole(encoder: Encoder = encoder, precision: Precision = precision) -> None:
            options = FeatureRecipe("bench", ("test",), precision=str(precision))
            encode_store(store, loaded, options, EncoderHere(encoder), run=RunOptions(overwrite=True))

        methods[f"bare forward, {precision}"] = bare
        methods[f"fda encode, {precision}"] = whole
    peer_of = {name: f"bare forward, {name.rpartition(', ')[2]}" for name in methods}
    found = paired_seconds(methods, repeats, peer_of)
    title = f"encoding {num_videos} videos of {num_frames} frames, {loaded.config.name}, on {_name(device)}"
    for precision in precisions:
        rows = tuple(
            Row(name, value, ratio, _speed(value, num_videos * num_frames, loaded, device))
            for name, (value, ratio) in found.items()
            if name.endswith(f", {precision}")
        )
        print_table(Table(f"{title}, {precision}", f"bare forward, {precision}", rows))
        if not on_gpu:
            quote(f"encoding.{precision}", found[f"fda encode, {precision}"][1], at_least=0.95)
    if not on_gpu:
        fastest = min(found[f"fda encode, {precision}"][0] for precision in precisions)
        for name, num_frames_of_all in NUM_FRAMES.items():
            quote(f"encoding.{name}", num_frames_of_all * fastest / (num_videos * num_frames) / 60, "min")
    if not on_gpu and Precision.BF16 in precisions:
        encoder = Encoder(loaded.model, precision=Precision.BF16)
        cosine = lowest_cosine(Encoder(loaded.model), encoder, some.frames[:4], some.masks[:4])
        fp32, bf16 = found["fda encode, fp32"][0], found["fda encode, bf16"][0]
        note = f"lowest cosine to fp32 {cosine:.6f}"
        rows = (Row("fda encode, fp32", fp32, 1.0), Row("fda encode, bf16", bf16, fp32 / bf16, note))
        print_table(Table(f"{title}: precision", "fp32", rows))
        quote("encoding.bf16_to_fp32", fp32 / bf16, at_least=2.1)
        quote("encoding.cosine", cosine, "cosine", at_least=0.9999)


def _speed(seconds: float, num_frames: int, loaded: LoadedModel, device: torch.device) -> str:
    tflops = frame_flops(loaded.config) * num_frames / seconds / 1e12
    peak = next((peak for part, peak in PEAK_TFLOPS.items() if part in _name(device)), None)
    share = "" if peak is None else f", {tflops / peak:.0%} of the device's peak"
    return f"{num_frames / seconds:.0f} frames/s, {tflops:.2f} TFLOP/s{share}"


def _name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


if __name__ == "__main__":
    main()
