"""How weights are reported."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pipeline.run.words import listed

if TYPE_CHECKING:
    from encoders.weights.loading import WeightsReport


def weights_rows(report: WeightsReport) -> list[tuple[str, str]]:
    """Facts about a model's weights, for `print_pairs`."""
    return [
        ("weights", report.source),
        ("kind", report.kind),
        ("sha256", report.sha256),
        ("published as", " + ".join(name or "(not known)" for name in report.published)),
        ("tensors matched", f"{report.matched:,}"),
        ("tensors missing", listed(report.missing)),
        ("entries not used", listed(report.unexpected)),
    ]
