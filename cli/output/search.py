"""What `fda search` prints for people."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence

from cli.output.printing import show
from cli.output.tables import print_table
from pipeline.run.words import cut, listed, plural
from pipeline.search.answers import Answer, Hit, SearchResult
from pipeline.search.moments import clock
from pipeline.search.options import Find, QueryKind

TITLE_LETTERS = 60
"""Of a query."""
LEAST_LETTERS, MOST_LETTERS = 24, 80
"""Of a caption: as many as stay on one line of the terminal, between these."""


def print_answers(result: SearchResult, find: Find) -> None:
    """Print a table for each answer, and what answered."""
    has_stores = len({place for answer in result.answers for place in answer.stores}) > 1
    for answer in result.answers:
        _print_answer(answer, find, has_stores=has_stores)


def _print_answer(answer: Answer, find: Find, *, has_stores: bool) -> None:
    kind = "" if answer.query.kind is QueryKind.TEXT else f"{answer.query.kind} "
    title = f"{kind}{_line(answer.query.value, TITLE_LETTERS)}"
    columns = ["", "score", "video", "split", "at", *(["store"] if has_stores else [])]
    rows = [_cells(hit, has_stores=has_stores) for hit in answer.hits]
    letters = _room([columns, *rows])
    captions = [_line(hit.caption or "-", letters) for hit in answer.hits]
    if rows:
        table = [[*row, caption] for row, caption in zip(rows, captions, strict=True)]
        print_table(title, [*columns, "caption"], table, texts=("video", "split", "store", "caption"))
    else:
        show(f"{title}: nothing found")
    where = f" of {listed(answer.stores)}" if has_stores else ""
    what = plural(answer.num_candidates, "caption" if find is Find.CAPTIONS else "video")
    show(f"{what}{where} compared; features {answer.features}; encoder {answer.encoder}")


def _cells(hit: Hit, *, has_stores: bool) -> list[str]:
    moment = hit.moment
    return [
        str(hit.rank),
        f"{hit.score:.3f}",
        hit.video_id,
        hit.split,
        "-" if moment is None else clock(moment.seconds),
        *([hit.store] if has_stores else []),
    ]


def _room(rows: Sequence[Sequence[str]]) -> int:
    """Letters of a caption that fit beside these columns, with the blanks of a table."""
    if not sys.stdout.isatty():
        return MOST_LETTERS
    # The blanks of `_Look.AIRY` in `cli.output.tables`, of these columns and the caption's.
    taken = sum(max(map(len, column)) for column in zip(*rows, strict=True)) + 3 * (len(rows[0]) + 1) + 1
    return max(LEAST_LETTERS, min(MOST_LETTERS, shutil.get_terminal_size().columns - taken))


def _line(text: str, letters: int) -> str:
    """The beginning of a text, on one line.

    >>> _line("a  dog\\nruns far", 8)
    'a dog r…'
    """
    return cut(" ".join(text.split()), letters)
