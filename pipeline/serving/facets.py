"""Facets: what the videos are like, with counts, and which of them pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.serving.address import Address, limits
from pipeline.serving.library import Library, Names

MOTION = ("..1", "1..5", "5..20", "20..50", "50..")
"""Percent of the picture."""
SECONDS = ("..5", "5..10", "10..30", "30..60", "60..300", "300..")
MAX_VALUES = 200
"""Values of a facet that are listed, the most frequent ones."""


@dataclass(frozen=True, slots=True)
class FacetValue:
    """One value of a facet."""

    label: str
    count: int
    """Videos that have it and pass all other facets."""
    is_chosen: bool
    url: str
    """The page with it chosen, or no more chosen."""


@dataclass(frozen=True, slots=True)
class Facet:
    """One way to divide the videos."""

    name: str
    title: str
    values: tuple[FacetValue, ...]
    num_chosen: int


def passing(library: Library, address: Address) -> NDArray[np.bool_]:
    """Shape (num_videos,): which videos pass what is chosen."""
    return _all_of(list(_masks(library, address).values()), len(library))


def facets_of(library: Library, address: Address, *, waits: bool = True) -> tuple[Facet, ...]:
    """The facets that divide these videos, with counts.

    Args:
        library: The videos.
        address: What is chosen.
        waits: Whether to read, of many videos, what is not known yet. Otherwise facets of that are left out.
    """
    address = address.question
    masks = _masks(library, address)

    def others(name: str) -> NDArray[np.bool_]:
        # Its own choice does not count: the numbers beside the other values say what choosing them would give.
        return _all_of([mask for other, mask in masks.items() if other != name], len(library))

    found = [
        _named(library.splits, others("splits"), address, "splits", "Split"),
        _named(library.categories, others("categories"), address, "categories", "Category"),
    ]
    if waits or library.is_measured:
        motion, seconds = library.motion * 100, library.duration_seconds
        found += [
            _ranges(motion, others("motion"), address, Ranges("motion", "Motion", MOTION, "%")),
            _ranges(seconds, others("seconds"), address, Ranges("seconds", "Duration", SECONDS, "s")),
            _camera(library.camera, others("camera"), address),
        ]
    # One value divides nothing.
    return tuple(facet for facet in found if len(facet.values) > 1 or facet.num_chosen)


def _masks(library: Library, address: Address) -> dict[str, NDArray[np.bool_]]:
    """Facet -> which videos have what is chosen of it; facets of which nothing is chosen are left out."""
    found: dict[str, NDArray[np.bool_]] = {}
    if address.splits:
        found["splits"] = library.splits.have(address.splits)
    if address.categories:
        found["categories"] = library.categories.have(address.categories)
    if address.motion:
        found["motion"] = _within(library.motion, limits(address.motion, 0.01))
    if address.seconds:
        found["seconds"] = _within(library.duration_seconds, limits(address.seconds))
    if address.camera:
        found["camera"] = library.camera == (address.camera == "moves")
    return found


def _all_of(masks: Sequence[NDArray[np.bool_]], count: int) -> NDArray[np.bool_]:
    passed = np.ones(count, np.bool_)
    for mask in masks:
        passed &= mask
    return passed


def _within(values: NDArray[np.float64], between: tuple[float, float] | None) -> NDArray[np.bool_]:
    low, high = between or (-np.inf, np.inf)
    return np.asarray((values >= low) & (values < high))


def _named(values: Names, passed: NDArray[np.bool_], address: Address, field: str, title: str) -> Facet:
    chosen: tuple[str, ...] = getattr(address, field)
    # What is chosen is listed even if nothing is left of it, or it could not be taken back.
    pairs = {**dict.fromkeys(chosen, 0), **values.counts(passed)}
    most = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:MAX_VALUES]
    if field == "splits":
        most.sort()

    def url(name: str) -> str:
        toggled = tuple(one for one in chosen if one != name) if name in chosen else (*chosen, name)
        return address.to("/", page=1, **{field: toggled})

    found = [FacetValue(name, count, name in chosen, url(name)) for name, count in most]
    return Facet(field, title, tuple(found), len(chosen))


@dataclass(frozen=True, slots=True)
class Ranges:
    """A facet of numbers."""

    field: str
    title: str
    ranges: tuple[str, ...]
    unit: str


def _ranges(values: NDArray[np.float64], passed: NDArray[np.bool_], address: Address, facet: Ranges) -> Facet:
    chosen: str = getattr(address, facet.field)
    found = []
    for one in [*facet.ranges, *([chosen] if chosen and chosen not in facet.ranges else [])]:
        count = int((_within(values, limits(one)) & passed).sum())
        if count or one == chosen:
            url = address.to(page=1, **{facet.field: "" if one == chosen else one})
            found.append(FacetValue(range_words(one, facet.unit), count, one == chosen, url))
    return Facet(facet.field, facet.title, tuple(found), int(bool(chosen)))


def _camera(values: NDArray[np.float64], passed: NDArray[np.bool_], address: Address) -> Facet:
    found = []
    for name, number in (("moves", 1.0), ("rests", 0.0)):
        count, is_chosen = int(((values == number) & passed).sum()), address.camera == name
        if count or is_chosen:
            found.append(FacetValue(name, count, is_chosen, address.to(page=1, camera="" if is_chosen else name)))
    return Facet("camera", "Camera", tuple(found), int(bool(address.camera)))


def range_words(text: str, unit: str) -> str:
    """A range in words.

    >>> range_words("..5", "s"), range_words("5..10", "s"), range_words("300..", "s")
    ('under 5 s', '5 to 10 s', '300 s and more')
    """
    low, _, high = text.partition("..")
    if not low:
        return f"under {high} {unit}"
    return f"{low} to {high} {unit}" if high else f"{low} {unit} and more"
