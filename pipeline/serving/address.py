"""What a page shows, as its address says it: a link shows a colleague the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self
from urllib.parse import quote, urlencode

from pipeline.errors import OptionError
from pipeline.search.options import By, Find, QueryKind

MAX_QUERY = 1000
"""Characters of a text that are searched: models read 77 tokens."""
MAX_LINKED = 300
"""Bytes of a query that are in every link of a page."""
PAGE_SIZES = (12, 25, 50, 100)
SHOWN = ("dim", "outline", "none")
"""How a mask is shown on a frame."""
MAX_PAGE = 100_000

_NAMES = {
    "query": "q",
    "kind": "kind",
    "image": "image",
    "find": "find",
    "by": "by",
    "features": "features",
    "versus": "versus",
    "splits": "split",
    "categories": "category",
    "motion": "motion",
    "seconds": "seconds",
    "camera": "camera",
    "page": "page",
    "size": "size",
    "store": "s",
    "video": "v",
    "time": "t",
    "masks": "masks",
    "show": "show",
}
"""Field -> its name in an address."""


@dataclass(frozen=True, slots=True)
class Address:
    """The state of a page."""

    query: str = ""
    """A text, or an id."""
    kind: str = ""
    """`text`, `video` or `caption`; empty: an id if there is such a one, else a text."""
    image: str = ""
    """Digest of a picture that was given to the server."""
    find: Find = Find.VIDEOS
    by: By = By.VIDEO
    features: str = ""
    """Feature set; empty: the first."""
    versus: str = ""
    """Another one, to be compared with it."""
    splits: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    motion: str = ""
    """`LOW..HIGH`, percent of the picture; either may be left out."""
    seconds: str = ""
    """`LOW..HIGH`."""
    camera: str = ""
    """`moves` or `rests`."""
    page: int = 1
    size: int = 25
    store: int = 0
    """Of the video that is selected: its number among the stores."""
    video: str = ""
    """Id of the video that is selected."""
    time: float | None = None
    """Seconds, from the first frame of the video's file."""
    masks: str = ""
    """Mask set; empty: the first."""
    show: str = SHOWN[0]

    @classmethod
    def parse(cls, given: Sequence[tuple[str, str]]) -> Self:
        """Read the parameters of an address; those of other names are ignored.

        Raises:
            OptionError: A value cannot be.
        """
        values: dict[str, list[str]] = {}
        for name, value in given:
            values.setdefault(name, []).append(value)
        found: dict[str, Any] = {}
        for one in fields(cls):
            texts = values.get(_NAMES[one.name])
            if texts is None:
                continue
            if one.name in ("splits", "categories"):
                found[one.name] = tuple(dict.fromkeys(texts))
            # Forms send empty fields for what was left out.
            elif texts[-1] or one.name == "video":
                found[one.name] = _read(one.name, texts[-1])
        # Cut, not refused: people paste whole paragraphs; the page says that it was cut.
        found["query"] = found.get("query", "")[:MAX_QUERY]
        return cls(**found)

    def to(self, path: str = "/", **changes: object) -> str:
        """The address of a page with some values changed."""
        state = replace(self, **changes) if changes else self  # type: ignore[arg-type]  # names of fields
        pairs: list[tuple[str, object]] = []
        for name, its, default in _DEFAULTS:
            value = getattr(state, name)
            if value == default:
                continue
            if isinstance(value, tuple):
                pairs += [(its, one) for one in value]
            else:
                # Milliseconds are enough for a moment, and keep links short.
                pairs.append((its, f"{value:.3f}".rstrip("0").rstrip(".") if isinstance(value, float) else value))
        return f"{path}?{urlencode(pairs)}" if pairs else path

    def hidden(self, *names: str) -> list[tuple[str, str]]:
        """What a form keeps of this state: all but what the named fields say."""
        pairs = []
        for name, its, default in _DEFAULTS:
            value = getattr(self, name)
            if name not in names and value != default:
                pairs += [(its, str(one)) for one in (value if isinstance(value, tuple) else (value,))]
        return pairs

    @property
    def short(self) -> Address:
        """This state, without a query that would make links long: there are hundreds of them in a page."""
        is_short = len(quote(self.query)) <= MAX_LINKED
        return self if is_short else replace(self, query="", kind="")

    @property
    def is_search(self) -> bool:
        """Whether something is searched for; else the whole set is shown."""
        return bool(self.query.strip() or self.image)

    @property
    def is_filtered(self) -> bool:
        """Whether not all videos are candidates."""
        return bool(self.splits or self.categories or self.motion or self.seconds or self.camera)

    @property
    def question(self) -> Address:
        """This state without what is selected in it: what the list of videos depends on."""
        # Equal for all videos of one list, so that to select another one finds the list kept (`Site._results`).
        return replace(self, store=0, video="", time=None, masks="", show=SHOWN[0])


_DEFAULTS = tuple((one.name, _NAMES[one.name], one.default) for one in fields(Address))


def limits(text: str, factor: float = 1.0) -> tuple[float, float] | None:
    """A range in numbers, `[low, high)`; None for an empty one.

    >>> limits("5..20", 0.01), limits("..3"), limits("60.."), limits("")
    ((0.05, 0.2), (0.0, 3.0), (60.0, inf), None)
    """
    if not text:
        return None
    low, dots, high = text.partition("..")
    try:
        found = (float(low or 0) * factor, float(high or math.inf) * factor)
    except ValueError:
        found = (math.nan, math.nan)
    if not dots or not found[0] <= found[1]:
        raise OptionError(f"a range is written LOW..HIGH, such as 5..20, got {text!r:.50}")
    return found


def inclusive(found: tuple[float, float] | None) -> tuple[float, float] | None:
    """A range `[low, high)` as one that includes its end, as `Filters` has it."""
    return (
        None if found is None else (found[0], math.nextafter(found[1], -math.inf) if found[1] < math.inf else math.inf)
    )


_CHOICES: Mapping[str, Sequence[str]] = {
    "kind": tuple(str(kind) for kind in QueryKind if kind is not QueryKind.IMAGE),  # which has a digest of its own
    "camera": ("moves", "rests"),
    "show": SHOWN,
}


def _read(name: str, text: str) -> object:
    """One value of an address.

    Raises:
        OptionError: It cannot be.
    """
    choices = _CHOICES.get(name)
    if choices is not None and text not in choices:
        raise OptionError(f"{name} is one of {', '.join(choices)}, got {text!r:.50}")
    try:
        if name == "find":
            return Find(text)
        if name == "by":
            return By(text)
        if name in ("page", "store", "size"):
            number = int(text)
            if not 0 <= number <= MAX_PAGE or (name == "page" and number < 1):
                raise ValueError
            # Any size becomes the nearest that is offered: nobody makes the server draw 100,000 cards.
            return min(PAGE_SIZES, key=lambda size: abs(size - number)) if name == "size" else number
        if name == "time":
            seconds = float(text)
            if not 0 <= seconds < math.inf:
                raise ValueError
            return seconds
    except ValueError:
        raise OptionError(f"{_NAMES[name]} cannot be {text!r:.50} in an address") from None
    if name in ("motion", "seconds"):
        limits(text)
    return text
