"""All experiments: to add one, write its file here and its line below."""

from __future__ import annotations

from collections.abc import Mapping

from pipeline.experiments.kind import Kind
from pipeline.experiments.kinds.baseline import BASELINE
from pipeline.experiments.kinds.long import LONG
from pipeline.experiments.options import ExperimentKind

KINDS: Mapping[ExperimentKind, Kind] = {one.name: one for one in (BASELINE, LONG)}
