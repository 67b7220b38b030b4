"""Queries by id: the vectors of videos and captions that are in the store already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pipeline.run.words import listed
from pipeline.search.index import SplitIndex
from pipeline.search.options import Find, Query, QueryKind
from store.errors import NotInStoreError
from store.formats.columns import column
from store.view import StoreView

MAX_COMPARED = 5_000
"""Ids that a misspelt one is compared with."""


@dataclass(frozen=True, slots=True)
class Known:
    """A video or a caption whose vector is stored."""

    index: SplitIndex
    kind: QueryKind
    position: int
    """Among the videos of the index; of a caption, among its captions."""
    vector: NDArray[np.float32]
    """Shape (dim,)."""

    def place_in(self, index: SplitIndex, find: Find) -> int | None:
        """Where it is itself among what is searched; None if it is not: nothing is like itself for an answer."""
        is_found = (self.kind is QueryKind.VIDEO) == (find is Find.VIDEOS)
        # By identity: a row of another split, or a split of another store, may have the same position.
        return self.position if is_found and index is self.index else None


def find_known(query: Query, indices: Sequence[SplitIndex]) -> Known | None:
    """A video or caption by its id, in the first split that has it with features; None if there is none."""
    wanted = column([query.value], pa.string())[0]
    for index in indices:
        is_video = query.kind is QueryKind.VIDEO
        table = index.view.videos(index.split) if is_video else index.view.captions(index.split)
        row: int = pc.index(table["video_id" if is_video else "caption_id"], wanted).as_py()
        if row < 0:
            continue
        vectors = index.vectors
        rows = vectors.rows if is_video else vectors.caption_rows
        # Rows ascend; a video without features has none among them, and lies between two others.
        position = int(np.searchsorted(rows, row))
        if position < len(rows) and rows[position] == row:
            # One row from the file: the whole matrix may not have been read yet, and is not needed for this.
            vector = vectors.opened.videos([row])[0] if is_video else vectors.opened.text_row(row)
            return Known(index, query.kind, position, vector)
    return None


def unknown(
    query: Query,
    views: Sequence[StoreView],
    groups: Sequence[Sequence[SplitIndex]],
    searched: Sequence[Sequence[SplitIndex]],
) -> NotInStoreError:
    """The error for an id that finds nothing: misspelt, of a video that failed, or of an encoder not searched.

    Args:
        query: By an id.
        views: Of the stores.
        groups: Indices whose vectors can be compared.
        searched: Those of each group that are searched.
    """
    indices = [index for group in groups for index in group]
    known = find_known(query, indices)
    if known is not None:
        index, splits = known.index, dict.fromkeys(one.split for group in searched for one in group)
        return NotInStoreError(
            f"{query.kind} {query.value!r} has features {index.features}, in split {index.split!r} of "
            f"{index.view.place}, but they cannot be compared with those of the searched "
            f"{'split' if len(splits) == 1 else 'splits'} {listed([repr(one) for one in splits])}, which another "
            f"encoder made: search split {index.split!r} too"
        )
    column = "video_id" if query.kind is QueryKind.VIDEO else "caption_id"
    tables = [view.videos() if column == "video_id" else view.captions() for view in views]
    places, features = listed([view.place for view in views]), listed(sorted({one.features for one in indices}))
    for table in tables:
        if pc.index(table[column], query.value).as_py() >= 0:
            return NotInStoreError(
                f"{query.kind} {query.value!r} of {places} has no features {features}: its video failed "
                "(`fda status --failures` has the reason), or only others were imported"
            )
    close = get_close_matches(query.value, _similar(query.value, [table[column] for table in tables]))
    hint = f". Did you mean {' or '.join(map(repr, close))}?" if close else ""
    return NotInStoreError(f"no {query.kind} {query.value!r} in {places}{hint}")


def _similar(name: str, columns: Sequence[pa.ChunkedArray]) -> list[str]:
    """Ids worth comparing: those with the same first letters, in whichever case, then any."""
    names: dict[str, None] = {}
    for texts in columns:
        starts = pc.starts_with(texts, pattern=name[:3], ignore_case=True)
        for part in (texts.filter(starts), texts):
            names |= dict.fromkeys(part.slice(0, MAX_COMPARED).to_pylist())
    return list(names)
