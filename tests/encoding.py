"""`pipeline.encode.encode` with an encoder in this process, as `fda encode` runs it by default."""

from __future__ import annotations

from encoders.encoding import Encoder
from encoders.precision import Precision
from encoders.weights import LoadedModel
from pipeline.encode import EncodeOptions, SplitEncoded, encode
from pipeline.encode_shards import EncoderHere
from pipeline.events import Listener, ignore_events
from store.store import Store


def encode_here(
    store: Store,
    loaded: LoadedModel,
    options: EncodeOptions,
    listener: Listener = ignore_events,
    *,
    overwrite: bool = False,
) -> tuple[SplitEncoded, ...]:
    encoder = Encoder(loaded.model, precision=Precision(options.precision), pooling=options.pooling)
    return encode(store, loaded, options, EncoderHere(encoder), listener, overwrite=overwrite)
