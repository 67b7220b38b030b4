"""`fda weights`, as one function: what a file of weights holds, and a model in the layout of other code."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from encoders.options import ModelSource, WeightsLayout
from encoders.weights.export import exported, left_out, write_weights
from encoders.weights.loading import WeightsReport, load
from encoders.weights.record import TrainingRecord, WeightsHeader
from pipeline.errors import OptionError
from pipeline.features.model import told_in_megabytes
from pipeline.run.events import Listener, ignore_events
from pipeline.run.fields import local_path
from store.json_values import JSON


@dataclass(frozen=True, slots=True)
class WeightsResult:
    """A model's weights, and the file that was written of them."""

    model: str
    activation: str
    report: WeightsReport
    num_weights: int
    output: Path | None
    """The file that was written; None if none was asked for."""
    num_written: int
    """Tensors in that file."""
    left_out: tuple[str, ...]
    """Tensors of the model that are no part of its layout."""
    training: TrainingRecord
    """What `fda finetune` trained the weights on."""

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        report = self.report
        return {
            "model": self.model,
            "activation": self.activation,
            "source": report.source,
            "kind": report.kind,
            "sha256": report.sha256,
            "published_as": list(report.published),
            "num_matched": report.matched,
            "missing": list(report.missing),
            "unexpected": list(report.unexpected),
            "num_weights": self.num_weights,
            "num_videos_trained_on": self.training.trained.num_videos,
            "chosen_on_test": self.training.chosen_on_test,
            "output": None if self.output is None else str(self.output),
        }


def weights(
    model: ModelSource,
    *,
    layout: WeightsLayout | None = None,
    output: str | PathLike[str] | None = None,
    listener: Listener = ignore_events,
) -> WeightsResult:
    """Load weights as `encode` would, and write them for other code if a layout and a file are given.

    Args:
        model: Where the weights are.
        layout: Of the file to write.
        output: The file to write: .safetensors, or what `torch.load` reads (.pt, .pth).
        listener: Hears how far files are read.

    Raises:
        WeightsError: The weights are missing, damaged, or not this model's.
        ModelError: There is no such model.
        OptionError: A layout without a file, or a file without a layout.
        FileExistsError: The file exists.
    """
    if (layout is None) != (output is None):
        raise OptionError("--layout and -o go together: what to write, and where to")
    file = None if output is None else local_path(output)
    loaded = load(model, told_in_megabytes(listener))
    num_written = 0
    lost: tuple[str, ...] = ()
    if layout is not None and file is not None:
        tensors = exported(loaded.model, layout)
        header = WeightsHeader(loaded.config.quick_gelu, loaded.training)
        write_weights(file, tensors, layout=layout, header=header)
        num_written, lost = len(tensors), tuple(left_out(loaded.model, layout))
    return WeightsResult(
        model=loaded.config.name,
        activation=str(loaded.config.activation),
        report=loaded.report,
        num_weights=sum(tensor.numel() for tensor in loaded.model.named_tensors().values()),
        output=file,
        num_written=num_written,
        left_out=lost,
        training=loaded.training,
    )
