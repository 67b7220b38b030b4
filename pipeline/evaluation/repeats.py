"""Captions of one text: they must tie, so their embeddings must be equal."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from store.features import Features
from store.formats.columns import column
from store.store import Store


def num_unlike_repeats(store: Store, features: Features, split: str) -> int:
    """Captions whose text was there before in the split, under another embedding: they would win or lose by rounding.

    An encoder gives equal texts equal bits. But a processor of another kind rounds otherwise, and so did versions of
    `fda` that encoded a text together with whichever others were near it.
    """
    captions = store.catalog.split_captions(split)
    used = captions.filter(pc.is_in(captions["caption_id"], column(features.caption_ids, pa.string())))
    texts = used["text"].combine_chunks().dictionary_encode().indices.to_pylist()  # not to_numpy, which imports pandas
    _, first, which = np.unique(texts, return_index=True, return_inverse=True)
    first_row = first[which]
    again = np.flatnonzero(first_row != np.arange(len(texts)))
    return int((features.text[again] != features.text[first_row[again]]).any(axis=1).sum())
