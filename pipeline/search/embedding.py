"""Queries as vectors in the space of a feature set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from encoders.encoding.encoder import Encoder
from encoders.options import ModelSource
from encoders.weights.loading import LoadedModel
from pipeline.errors import InputError
from pipeline.features.model import load_ready
from pipeline.run.events import Reporter
from pipeline.search.options import Query, QueryKind
from pipeline.search.source import encoder_words
from pipeline.video.resizing import resize_and_crop
from store.json_values import JSON


class QueryEncoder:
    """The model of a feature set, ready to embed texts and pictures."""

    def __init__(self, loaded: LoadedModel, made_with: dict[str, JSON]) -> None:
        max_words = made_with.get("max_words")
        self.words = encoder_words(made_with)
        self._encoder = Encoder(loaded.model, max_words=max_words if isinstance(max_words, int) else None)

    @classmethod
    def load(cls, source: ModelSource, made_with: dict[str, JSON], features: str, report: Reporter) -> QueryEncoder:
        """Load the model, and refuse it if it is not the one that made the features.

        Raises:
            InputError: Its weights are others.
            WeightsError: They are missing or damaged.
        """
        loaded = load_ready(source, "cpu", report).loaded
        model = made_with.get("model")
        expected = model.get("weights_sha256") if isinstance(model, dict) else None
        if loaded.report.sha256 != expected:
            raise InputError(
                f"features {features!r} were made by {encoder_words(made_with)}; {loaded.report.source} has weights "
                f"{loaded.report.sha256[:12]}: their vectors cannot be compared"
            )
        return cls(loaded, made_with)

    def embed(self, queries: Sequence[Query]) -> NDArray[np.float32]:
        """Texts and pictures as vectors of unit norm: shape (num_queries, dim).

        Raises:
            InputError: A file is no picture.
        """
        texts = [query.value for query in queries if query.kind is QueryKind.TEXT]
        pictures = [_picture(query.value, self._encoder.config.image_size) for query in queries if _is_image(query)]
        found = {QueryKind.TEXT: iter(self._encoder.encode_texts(texts).text)}
        if pictures:
            frames = np.stack(pictures)[:, None]
            found[QueryKind.IMAGE] = iter(
                self._encoder.encode_clips(frames, np.ones(frames.shape[:-1], np.bool_)).video
            )
        return np.stack([next(found[query.kind]) for query in queries])


def _is_image(query: Query) -> bool:
    return query.kind is QueryKind.IMAGE


def _picture(path: str, size: int) -> NDArray[np.uint8]:
    """A picture as the model takes it: upright, resized and cut as frames are; shape (size, size, 3)."""
    try:
        with Image.open(path) as opened:
            return resize_and_crop(np.array(ImageOps.exif_transpose(opened).convert("RGB")), size)
    except (UnidentifiedImageError, Image.DecompressionBombError, ValueError) as error:
        raise InputError(f"{path} is no picture that can be read: {error}") from error
