"""Protocols by name: who is a query, who is a candidate, and what a rank is where scores tie."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from pipeline.evaluation.metrics import RetrievalMetrics, Ties, metrics_of
from pipeline.evaluation.ranking import Standings, TextStandings


@dataclass(frozen=True, slots=True)
class Protocol:
    """One way to count. docs/evaluation.md has the formula and a worked example of each."""

    name: str
    summary: str
    """One sentence."""
    ties: Ties
    ties_of_several: Ties | None = None
    """The rule of text to video where videos have several captions; None: `ties`."""
    by_single_captions: bool = False
    """Whether video to text ranks among all captions, not among videos by the best of their captions."""
    one_caption: bool = False
    """Whether each video must have exactly one caption."""
    paragraphs: bool = False
    """Whether that caption must be a paragraph: all that is said of the video, joined."""
    lower_median: bool = False
    """Whether the median rank of text to video is the lower of the middle two, where videos have several captions."""
    rounds_half_down: bool = False
    """See `metrics_of`."""

    def why_not(self, truth: NDArray[np.int64], *, are_paragraphs: bool) -> str:
        """Why it cannot be applied, as half a sentence; an empty text if it can.

        Args:
            truth: Shape (num_captions,): the video of each caption.
            are_paragraphs: Whether a caption of the data set is all that is said of its video.
        """
        most = int(np.bincount(truth).max())
        if self.one_caption and most > 1:
            return f"it takes one caption a video, and a video here has {most}"
        if self.paragraphs and not are_paragraphs:
            return "it takes paragraphs, and the captions here are sentences (`fda preprocess --paragraphs` joins them)"
        return ""

    def with_ties(self, ties: Ties | None) -> Protocol:
        """The same with another rule for ties; None: its own."""
        return self if ties is None else replace(self, ties=ties, ties_of_several=None)

    def score(self, to_video: Standings, to_text: TextStandings) -> RetrievalResult:
        """Metrics of both directions."""
        several = len(to_video) > len(to_text.videos)
        gain = None if to_text.gain is None else 100 * float(np.mean(to_text.gain))
        found = self.of_texts(self.among_texts(to_text))
        return RetrievalResult(self.of_videos(to_video, several=several), replace(found, ndcg=gain))

    def of_videos(self, to_video: Standings, *, several: bool) -> RetrievalMetrics:
        """Metrics of text to video; `several` says whether videos of the split have several captions."""
        return metrics_of(
            to_video,
            (several and self.ties_of_several) or self.ties,
            lower_median=self.lower_median and several,
            rounds_half_down=self.rounds_half_down,
        )

    def among_texts(self, to_text: TextStandings) -> Standings:
        """The standings of video to text that count."""
        return to_text.single if self.by_single_captions else to_text.best

    def of_texts(self, standings: Standings) -> RetrievalMetrics:
        """Metrics of video to text, from what `among_texts` gives."""
        return metrics_of(standings, self.ties, rounds_half_down=self.rounds_half_down)


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """Both directions of retrieval under one protocol."""

    text_to_video: RetrievalMetrics
    video_to_text: RetrievalMetrics


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
                "paired",
                "one caption a video, each the other's only match; ties count against the model",
                Ties.PESSIMISTIC,
                one_caption=True,
            ),
            Protocol(
                "paragraph",
                "as `paired`, each caption all that is said of the video (ActivityNet, DiDeMo)",
                Ties.PESSIMISTIC,
                one_caption=True,
                paragraphs=True,
            ),
        )
    }
)
"""Name -> protocol."""
