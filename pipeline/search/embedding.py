"""Queries as vectors in the space of a feature set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from encoders.encoding.encoder import Encoder
from encoders.options import ModelSource
from encoders.tokens import Tokenizer
from encoders.weights.loading import LoadedModel
from pipeline.errors import InputError
from pipeline.features.model import load_ready
from pipeline.features.remarks import kept_dim, resized_to, stored_size
from pipeline.run.events import Reporter
from pipeline.run.words import cut, plural
from pipeline.search.options import Query, QueryKind
from pipeline.search.pictures import read_picture
from pipeline.search.source import encoder_words
from pipeline.video.resizing import resize_and_crop
from store.json_values import JSON


class QueryEncoder:
    """The model of a feature set, ready to embed texts and pictures. One thread embeds at a time."""

    def __init__(self, loaded: LoadedModel, made_with: Mapping[str, JSON]) -> None:
        max_words = made_with.get("max_words")
        self.words = encoder_words(made_with)
        self._encoder = Encoder(
            loaded.model,
            max_words=max_words if isinstance(max_words, int) else None,
            truncate_dim=kept_dim(made_with),
        )
        # Encoding may have resized stored frames to what the model reads; a picture then takes the same two steps.
        self._stored_size = stored_size(made_with) if resized_to(made_with) else None
        self._tokenizer = Tokenizer.of(loaded.model.config)

    @classmethod
    def load(cls, source: ModelSource, made_with: Mapping[str, JSON], features: str, report: Reporter) -> QueryEncoder:
        """Load the model, and refuse it if it is not the one that made the features.

        Raises:
            InputError: Its weights are others.
            WeightsError: They are missing or damaged.
        """
        model = made_with.get("model")
        if not isinstance(model, Mapping):
            raise InputError(
                f"features {features!r} were imported, and nothing says that this model made them: search by --video "
                "or --caption"
            )
        # One query takes a fraction of a second on a CPU; a GPU may be busy with a run.
        loaded = load_ready(source, "cpu", report).loaded
        if loaded.report.sha256 != model.get("weights_sha256"):
            raise InputError(
                f"features {features!r} were made by {encoder_words(made_with)}; {loaded.report.source} has weights "
                f"{loaded.report.sha256[:12]}: their vectors cannot be compared"
            )
        return cls(loaded, made_with)

    def embed(self, queries: Sequence[Query], report: Reporter | None = None) -> NDArray[np.float32]:
        """Texts and pictures as vectors of unit norm: shape (num_queries, dim).

        Args:
            queries: Texts and pictures.
            report: Hears of texts that are longer than the model reads.

        Raises:
            InputError: A file is no picture, or the model reads nothing of a text.
        """
        texts = [query.value for query in queries if query.kind is QueryKind.TEXT]
        size = self._encoder.config.image_size
        paths = [query.value for query in queries if query.kind is QueryKind.IMAGE]
        pictures = [read_picture(path, self._stored_size or size) for path in paths]
        found = {QueryKind.TEXT: iter(self._texts(texts, report))}
        if pictures:
            # As the frames of the features were: through their stored size, if they were resized.
            # (pictures, 1, h, w, 3): clips of one frame
            frames = np.stack([resize_and_crop(picture, size) for picture in pictures])[:, None]
            found[QueryKind.IMAGE] = iter(
                self._encoder.encode_clips(frames, np.ones(frames.shape[:-1], np.bool_)).video
            )
        # In the order in which they were asked: each kind hands on its vectors one by one.
        return np.stack([next(found[query.kind]) for query in queries])

    def _texts(self, texts: Sequence[str], report: Reporter | None) -> NDArray[np.float32]:
        """Shape (num_texts, dim)."""
        # An empty text has its markers alone: a text with no more tokens than that says nothing to the model.
        *counts, without_words = self._tokenizer([*texts, ""]).num_tokens.tolist()
        for text, num_tokens in zip(texts, counts, strict=True):
            if num_tokens <= without_words:
                raise InputError(f"the model reads nothing of the query {text!r:.100}: give it words")
        embedded = self._encoder.encode_texts(texts)
        for text, num_dropped in zip(texts, embedded.num_dropped.tolist(), strict=True):
            if num_dropped and report is not None:
                report.warn(
                    f"the query {cut(text, 40)!r} is longer than the model reads: its last "
                    f"{plural(num_dropped, 'token')} are ignored"
                )
        return embedded.text
