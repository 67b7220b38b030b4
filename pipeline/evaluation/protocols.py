"""Protocols by name: who is a query, who is a candidate, and which rank counts when scores tie.

This is data alone, so that `--help` can list it at once: `pipeline.evaluation.metrics` counts by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType


class Ties(StrEnum):
    """Which rank an own item gets if candidates score the same: `a` score higher, `n` the same, itself included."""

    PESSIMISTIC = "pessimistic"
    """The last, `a + n`: ties count against the model."""
    MEAN = "mean"
    """The mean of all, `a + (n + 1) / 2` (collaborative-experts; in X-Pool, on average; McSherry and Najork 2008)."""
    OPTIMISTIC = "optimistic"
    """The first, `a + 1`: a model that gives all candidates the same score has R@1 100."""
    EACH = "each"
    """All of them, `a + 1 .. a + n`, as if each were a query of its own (CLIP4Clip)."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to count. docs/evaluation.md has the formula and a worked example of each."""

    name: str
    summary: str
    """One sentence."""
    ties: Ties
    ties_of_several: Ties | None = None
    """The rule of text to video if videos have several captions; None: `ties`."""
    by_single_captions: bool = False
    """Whether video to text ranks among all captions, not among videos by the best of their captions."""
    one_caption: bool = False
    """Whether each video must have exactly one caption."""
    paragraphs: bool = False
    """Whether that caption must be a paragraph: all captions of the video, joined."""
    lower_median: bool = False
    """Whether the median rank of text to video is the lower of the middle two, if videos have several captions."""
    rounds_half_down: bool = False
    """See `metrics_of`."""
    shows_r100: bool = False
    """Whether R@100 is printed as well; it is always computed."""

    def why_not(self, most_captions: int, *, are_paragraphs: bool) -> str:
        """Why it cannot be applied, as half a sentence; an empty text if it can.

        Args:
            most_captions: Captions of the video that has most.
            are_paragraphs: Whether a caption of the data set is all captions of its video, joined.
        """
        if self.one_caption and most_captions > 1:
            return f"it takes one caption a video, and a video here has {most_captions}"
        if self.paragraphs and not are_paragraphs:
            return "it takes paragraphs, and the captions here are sentences (`fda preprocess --paragraphs` joins them)"
        return ""

    def with_ties(self, ties: Ties | None) -> Protocol:
        """The same with another rule for ties; None: its own."""
        return self if ties is None else replace(self, ties=ties, ties_of_several=None)

    def __str__(self) -> str:
        """In words, with the rule for ties where that is not its own.

        >>> str(PROTOCOLS["fda"]), str(PROTOCOLS["fda"].with_ties(Ties.OPTIMISTIC))
        ('protocol fda', 'protocol fda, but ties optimistic')
        """
        is_own = self == PROTOCOLS[self.name]
        return f"protocol {self.name}" + ("" if is_own else f", but ties {self.ties}")


PROTOCOLS: Mapping[str, Protocol] = MappingProxyType(
    {
        protocol.name: protocol
        for protocol in (
            Protocol(
                "fda",
                "every caption is a query; a video ranks others by the best of their captions; ties count as lost",
                Ties.PESSIMISTIC,
            ),
            Protocol(
                "clip4clip",
                "as CLIP4Clip counts: as `fda`, but a query with ties counts once at each rank it shares",
                Ties.EACH,
                # There each caption has one rank, any of those that it shares: it comes of a sort that is not stable.
                ties_of_several=Ties.PESSIMISTIC,
                lower_median=True,
            ),
            Protocol(
                "collaborative-experts",
                "as collaborative-experts counts: ties are averaged, and a video ranks among single captions",
                Ties.MEAN,
                by_single_captions=True,
                rounds_half_down=True,
            ),
            Protocol(
                "x-pool",
                "as X-Pool and the code built on it count: as `fda`, but ties are averaged; R@100 as well",
                # There the own item takes any of the ranks that it shares: it comes of a sort that is not stable. The
                # mean of them is the mean rank that it has over all orders of the candidates.
                Ties.MEAN,
                shows_r100=True,
            ),
            Protocol(
                "paired",
                "one caption a video, each the other's only match; ties count against the model",
                Ties.PESSIMISTIC,
                one_caption=True,
            ),
            Protocol(
                "paragraph",
                "as `paired`, each caption being all captions of its video, joined (ActivityNet, DiDeMo)",
                Ties.PESSIMISTIC,
                one_caption=True,
                paragraphs=True,
            ),
        )
    }
)
"""Name -> protocol."""
