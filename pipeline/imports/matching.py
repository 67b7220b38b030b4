"""Which embedding belongs to which video and caption of a store."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from pipeline.datasets.reading.files import first_few, in_one_line, is_video, without_ending
from pipeline.errors import InputError
from pipeline.imports.embeddings import Embeddings
from pipeline.imports.options import ImportOptions
from pipeline.imports.reading import read_embeddings
from pipeline.run.events import Reporter
from pipeline.run.words import plural
from store.json_values import JSON
from store.store import Store


@dataclass(frozen=True, slots=True)
class Given:
    """The embeddings, read."""

    text: Embeddings
    video: Embeddings
    frame: Embeddings | None

    @classmethod
    def of(cls, options: ImportOptions) -> Given:
        """Read what the options name.

        Raises:
            InputError: A file cannot be read, or the embeddings are not of one model.
        """
        text, video, frame = (
            one
            if one is None or isinstance(one, Embeddings)
            else read_embeddings(Path(one), None if ids is None else Path(ids), of_texts=of_texts)
            for one, ids, of_texts in (
                (options.text, options.text_ids, True),
                (options.video, options.video_ids, False),
                (options.frame, options.video_ids, False),
            )
        )
        # Frames alone are enough: `write` pools them.
        video = frame if video is None else video
        if text is None or video is None:
            raise TypeError("ImportOptions requires texts, and videos or frames")
        if text.are_frames:
            raise InputError(f"{text.source}: a text has one embedding, not one a frame")
        for other in (video, frame):
            if other is not None and other.dim != text.dim:
                raise InputError(
                    f"embeddings of one model have one number of dimensions, but those of texts ({text.source}) have "
                    f"{text.dim}, and those of videos ({other.source}) {other.dim}"
                )
        return cls(text, video, frame)

    @property
    def sources(self) -> dict[str, JSON]:
        """Where they are from."""
        named = {"text": self.text, "video": self.video, "frame": self.frame}
        return {name: one.source for name, one in named.items() if one is not None}

    def identity(self, options: ImportOptions) -> dict[str, JSON]:
        """What makes up the features of a split: to continue them, this must be the same."""
        sources = {"text": self.text, "video": self.video, "frame": self.frame}
        return {
            "imported": {name: _digest(one) for name, one in sources.items() if one is not None},
            "pooling": str(options.pooling) if self.video.are_frames else "as imported",
            **options.dtypes.identity,
        }


@dataclass(frozen=True, slots=True)
class Matched:
    """Where the embeddings of one split are."""

    split: str
    text: Mapping[int, int]
    """Row of a caption in the catalogue -> index of its embedding."""
    video: Mapping[int, int]
    frame: Mapping[int, int]


def matched(store: Store, split: str, given: Given) -> Matched:
    """Find the embeddings of a split.

    Raises:
        InputError: An id has two embeddings; or embeddings have no ids, and are not as many as the catalogue has rows.
        NotInStoreError: There is no such split.
    """
    captions, videos = store.catalog.split_captions(split), store.catalog.split_videos(split)
    video_ids, caption_ids = videos["video_id"].to_pylist(), captions["caption_id"].to_pylist()
    texts = [in_one_line(text) for text in captions["text"].to_pylist()]
    num_splits = len(store.manifest.splits)
    return Matched(
        split,
        _rows(given.text, caption_ids, texts, split, num_splits),
        _rows(given.video, video_ids, None, split, num_splits),
        {} if given.frame is None else _rows(given.frame, video_ids, None, split, num_splits),
    )


def _rows(
    given: Embeddings, ids: Sequence[str], texts: Sequence[str] | None, split: str, num_splits: int
) -> dict[int, int]:
    """Row of the catalogue -> index of its embedding. Texts may be given in place of ids of captions."""
    if given.ids is None:
        if len(given) != len(ids):
            raise InputError(
                f"{given.source} has no ids, so its {len(given):,} embeddings must be those of split {split!r} in the "
                f"order of the catalogue, which has {len(ids):,}: give a file of ids"
                + ("" if num_splits == 1 else ", or name the split")
            )
        return dict(enumerate(range(len(ids))))
    index_of = _indices(given, given.ids)
    # If any id is one of the store, all are read as ids: a file that mixes both would be matched by chance.
    if index_of.keys().isdisjoint(ids) and texts is not None:
        ids, index_of = texts, _indices(given, map(in_one_line, given.ids))
    elif index_of.keys().isdisjoint(ids):  # paths, as clip-retrieval has them
        index_of = _indices(given, map(_stem, given.ids))
    return {row: index_of[one] for row, one in enumerate(ids) if one in index_of}


def _stem(path: str) -> str:
    """The name of a file, without the ending of a video.

    >>> _stem("clips/v_1.a.mp4"), _stem("v_1.a")
    ('v_1.a', 'v_1.a')
    """
    name = PurePosixPath(path).name
    return without_ending(name) if is_video(name) else name


def _indices(given: Embeddings, ids: Iterable[str]) -> dict[str, int]:
    """Id -> index. An id may be there twice only with the same embedding, as captions that are repeated are."""
    index_of: dict[str, int] = {}
    for index, one in enumerate(ids):
        first = index_of.setdefault(one, index)
        if first != index and not np.array_equal(given.values[first], given.values[index], equal_nan=True):
            raise InputError(
                f"{given.source}: {one!r} is there twice, with other embeddings (rows {first} and {index})"
            )
    return index_of


def check_matches(store: Store, given: Given, parts: Sequence[Matched], report: Reporter) -> None:
    """Refuse embeddings that are not of this store, and captions without one; name what is not used."""
    for part in parts:
        if not part.video:
            known = store.catalog.split_videos(part.split)["video_id"].to_pylist()
            raise InputError(
                f"{given.video.source} has no embedding of a video of split {part.split!r}: its ids are "
                f"{first_few(given.video.ids or ())}, those of the split {first_few(known)}"
            )
        captions = store.catalog.split_captions(part.split)
        row_of = {one: row for row, one in enumerate(store.catalog.split_videos(part.split)["video_id"].to_pylist())}
        without = [
            caption
            for row, (caption, owner) in enumerate(
                zip(captions["caption_id"].to_pylist(), captions["video_id"].to_pylist(), strict=True)
            )
            if row not in part.text and row_of[owner] in part.video
        ]
        if without:
            raise InputError(
                f"{given.text.source} has no embedding of {plural(len(without), 'caption')} of split {part.split!r}: "
                f"{first_few(without)}; its ids are {first_few(given.text.ids or ())}"
            )
        if num_without := len(row_of) - len(part.video):
            report.warn(
                f"{num_without:,} of {plural(len(row_of), 'video')} of split {part.split!r} have no embedding: they "
                "count as failed"
            )
    if not parts:
        known = [
            one for split in store.manifest.splits for one in store.catalog.split_videos(split)["video_id"].to_pylist()
        ]
        raise InputError(
            f"{given.video.source} has no embedding of a video of this store: its ids are "
            f"{first_few(given.video.ids or ())}, those of the store {first_few(known)}"
        )
    num_used = sum(len(part.video) for part in parts)
    if num_used < len(given.video):
        report.warn(f"{len(given.video) - num_used:,} of {len(given.video):,} embeddings of videos are of none here")


def _digest(given: Embeddings) -> str:
    """sha256 of embeddings and ids: what `identity` compares."""
    digest = hashlib.sha256()
    for part in _bytes_of(given):
        digest.update(part)
    return digest.hexdigest()


def _bytes_of(given: Embeddings) -> Iterator[bytes]:
    for one in given.ids or ():
        yield f"{len(one)}:{one}".encode()  # with its length, so that "ab", "c" and "a", "bc" differ
    for values in given.values:  # one by one: an array that is mapped from a file is never in memory as a whole
        yield f"{values.dtype.str}{values.shape}".encode()  # equal bytes of another shape are other embeddings
        yield np.ascontiguousarray(values).tobytes()
