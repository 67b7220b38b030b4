"""`pipeline.features.encode.encode` with an encoder in this process, as `fda encode` runs it by default."""

from __future__ import annotations

from encoders.encoding.encoder import Encoder
from encoders.options import Precision
from encoders.weights.loading import LoadedModel
from pipeline.features.encode import SplitEncoded, encode_splits
from pipeline.features.encoders import EncoderHere
from pipeline.features.options import FeatureRecipe
from pipeline.run.events import Listener, ignore_events
from pipeline.run.options import RunOptions
from pipeline.workers.executors import Executor, run_synchronously
from store.store import Store


def encode_here(
    store: Store,
    loaded: LoadedModel,
    options: FeatureRecipe,
    listener: Listener = ignore_events,
    *,
    overwrite: bool = False,
    executor: Executor = run_synchronously,
) -> tuple[SplitEncoded, ...]:
    encoder = Encoder(loaded.model, precision=Precision(options.precision), pooling=options.pooling)
    run = RunOptions(overwrite=overwrite)
    return encode_splits(store, loaded, options, EncoderHere(encoder), listener, run=run, executor=executor)
