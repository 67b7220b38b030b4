"""A step of fine-tuning out of a store, against the bare forward and backward pass over tensors in memory.

A step whose frames are drawn of four times as many stored ones, their masks computed from them, cropped and flipped, is
measured beside one that is fed from stored masks; and so is the reading of its clips alone, without a model. Last come
steps in bf16 that are fed from the store, against the same steps on batches that are in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import torch

from encoders.devices import find_device, move_to
from encoders.model import pool
from encoders.options import Pooling, Precision
from encoders.tokens import Tokenizer
from encoders.training.losses import symmetric_cross_entropy
from encoders.training.options import TrainOptions
from encoders.training.trainer import TrainBatch, Trainer
from encoders.weights.loading import load_model
from pipeline.clips.alpha import AlphaClips
from pipeline.clips.options import AlphaSource
from pipeline.clips.read_ahead import read_ahead
from pipeline.masks.options import MaskOptions
from pipeline.run.threads import one_cv2_thread
from pipeline.training.clips import TrainingClips
from pipeline.training.drawn import Drawing
from pipeline.training.options import BatchOptions
from store.clips.reader import ClipReader
from tests.benchmarks.bench_reading import make_store
from tests.benchmarks.measure import Row, Table, paired_seconds, print_table
from tests.benchmarks.quoted import quote
from tests.encoders_tiny import vision_inputs

TEXT = "a man in a red shirt is playing the guitar on a stage number {}"


def main(*, quick: bool = False) -> None:
    """Measure, and print the ratios."""
    device = find_device("auto")
    on_gpu = device.type == "cuda"
    model = "ViT-B-16-quickgelu" if on_gpu else "ViT-B-32-quickgelu"
    batch_size, num_frames = (64, 6) if on_gpu else (8, 6)
    num_steps = 20 if on_gpu and not quick else 1
    with tempfile.TemporaryDirectory() as folder:
        store = make_store(Path(folder) / "store", num_videos=2 * batch_size, num_frames=num_frames)
        loaded = load_model(model, "none")
        move_to(loaded.model, str(device))
        reader = ClipReader(store, "test", "default")
        stored = make_store(Path(folder) / "stored", num_videos=2 * batch_size, num_frames=4 * num_frames)
        texts = [TEXT.format(number) for number in range(batch_size)]
        trainer = Trainer(loaded.model, TrainOptions(lr=1e-9, alpha_lr=1e-9), num_steps=10_000)
        plain = BatchOptions(alpha_ones=0.1, flip=0.5, frame_jitter=4)
        drawn = BatchOptions(frames=num_frames, crop=0.5, flip=0.5)
        patch = loaded.model.patch_size
        alpha = AlphaClips(ClipReader(stored, "test", "default"), AlphaSource.MASKS)
        sources = {
            "fda finetune": TrainingClips(AlphaClips(reader, AlphaSource.MASKS), None, plain, patch),
            "frames drawn, masks computed": TrainingClips(alpha, Drawing(num_frames, MaskOptions()), drawn, patch),
        }
        with one_cv2_thread():
            reading = reading_table(sources, list(range(batch_size)), num_frames, 1 if quick else 15)
        print_table(reading)
        drawn_seconds = reading.row("frames drawn, masks computed").seconds or 0.0
        quote("finetuning.drawn", reading.row("frames drawn, masks computed").ratio or 0.0)
        quote("finetuning.drawn_ms", 1e3 * drawn_seconds / batch_size, "ms")
        rng = np.random.default_rng(0)

        def batches() -> Iterator[list[int]]:
            for _ in range(num_steps):
                yield rng.permutation(2 * batch_size)[:batch_size].tolist()

        def whole(source: TrainingClips) -> None:
            def read(rows: list[int]) -> TrainBatch:
                clips = source.read(rows, [np.random.default_rng(row) for row in rows])
                return TrainBatch(clips.frames, clips.masks, texts, clips.is_frame)

            for batch in read_ahead(read, batches()):
                trainer.step(batch)

        clips = reader.read(list(range(batch_size)))
        size = loaded.config.image_size
        inputs = vision_inputs(clips.frames.reshape(-1, size, size, 3), clips.masks.reshape(-1, size, size), device)
        tokenized = Tokenizer(loaded.config.context_length)(texts)
        tokens = tokenized.tokens[:, : int(tokenized.num_tokens.max())].to(device)
        there = torch.ones((batch_size, num_frames), dtype=torch.bool, device=device)

        def bare() -> None:
            for _ in range(num_steps):
                loaded.model.zero_grad(set_to_none=False)
                with torch.autocast(device.type, torch.bfloat16, enabled=trainer.precision is Precision.BF16):
                    features = loaded.model.encode_frames(*inputs).float()
                    text = loaded.model.encode_texts(tokens).float()
                video = pool(features.view(batch_size, num_frames, -1), there, Pooling.MEAN)
                loss = symmetric_cross_entropy(loaded.model.logit_scale.exp() * text @ video.T)
                loss.backward()  # type: ignore[no-untyped-call]
            if on_gpu:
                torch.cuda.synchronize()

        peer = "bare forward and backward"
        runs: dict[str, Callable[[], object]] = {
            peer: bare,
            **{name: partial(whole, source) for name, source in sources.items()},
        }
        with one_cv2_thread():
            found = paired_seconds(runs, 1 if quick else 7, dict.fromkeys(runs, peer))
        what = f"{num_steps} steps of {batch_size} clips of {num_frames} frames, {model}, {trainer.precision}"
        print_table(Table(what, peer, tuple(Row(name, value, ratio) for name, (value, ratio) in found.items())))
        quote("finetuning.step", found["fda finetune"][1], at_least=0.85)
        trainer = Trainer(loaded.model, TrainOptions(lr=1e-9, alpha_lr=1e-9, precision="bf16"), num_steps=10_000)
        with one_cv2_thread():
            fed(trainer, sources["fda finetune"], texts, num_steps, 1 if quick else 3)


def fed(trainer: Trainer, source: TrainingClips, texts: Sequence[str], num_steps: int, repeats: int) -> None:
    """Steps on batches that are read beside them, against steps on the same batches, read before."""
    rows = list(range(len(texts)))

    def read(_: int) -> TrainBatch:
        clips = source.read(rows, [np.random.default_rng(row) for row in rows])
        return TrainBatch(clips.frames, clips.masks, texts, clips.is_frame)

    in_memory = read(0)
    peer, ours = "from memory", "from the store"

    def steps(batches: Iterable[TrainBatch]) -> None:
        for batch in batches:
            trainer.step(batch)

    runs: dict[str, Callable[[], object]] = {
        peer: lambda: steps(repeat(in_memory, num_steps)),
        ours: lambda: steps(read_ahead(read, range(num_steps))),
    }
    of_processor = find_device("auto").type == "cpu"  # a GPU computes while the processor reads
    found = paired_seconds(runs, repeats, dict.fromkeys(runs, peer), of_processor=of_processor)
    what = f"{num_steps} steps in {trainer.precision}, fed" + (", processor time" if of_processor else "")
    print_table(Table(what, peer, tuple(Row(name, value, ratio) for name, (value, ratio) in found.items())))
    quote("finetuning.fed", found[ours][1], at_least=0.97)


def reading_table(sources: Mapping[str, TrainingClips], rows: Sequence[int], num_frames: int, repeats: int) -> Table:
    """What it takes to read one batch from each source, against the first."""
    rngs = [np.random.default_rng(row) for row in rows]
    runs = {name: partial(source.read, rows, rngs) for name, source in sources.items()}
    peer = next(iter(runs))
    found = paired_seconds(runs, repeats, dict.fromkeys(runs, peer))
    what = f"reading {len(rows)} clips of {num_frames} frames, without a step"
    return Table(what, peer, tuple(Row(name, value, ratio) for name, (value, ratio) in found.items()))


if __name__ == "__main__":
    main()
