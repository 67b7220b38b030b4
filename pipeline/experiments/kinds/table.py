"""All experiments: to add one, write its file here and its line below."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiments.kind import Kind
from pipeline.experiments.kinds.baseline import BASELINE
from pipeline.experiments.kinds.long import LONG
from pipeline.experiments.kinds.masks import MASKS
from pipeline.experiments.kinds.static import STATIC_CAPTIONS
from pipeline.experiments.kinds.tau import TAU
from pipeline.experiments.options import ExperimentKind

KINDS: Mapping[ExperimentKind, Kind] = {one.name: one for one in (BASELINE, TAU, MASKS, STATIC_CAPTIONS, LONG)}
