"""What every format is: a writer that is given the store shard by shard, and describes what it wrote."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from pipeline.errors import InputError, PipelineError
from pipeline.exporting.croissant import Described
from pipeline.exporting.destination import Destination
from pipeline.exporting.options import ExportOptions
from pipeline.exporting.source import Batch, Parts, Selected

VIDEOS_PER_FILE = 1_000


class MissingPackageError(PipelineError, ImportError):
    """A package is not installed that fda can do without, but this cannot."""


class FormatWriter(ABC):
    """Writes one format. `add` for every shard of each split in order, then `finish`.

    Between two calls it keeps no more than the rows of a few shards.
    """

    parts: ClassVar[Parts]
    """What of a store the format has a place for."""
    flags: ClassVar[tuple[str, ...]] = ()
    """The options of `ExportOptions` that only some formats have, and this one too: `images`, `vectors`, ..."""

    def __init__(self, out: Destination, options: ExportOptions, selected: Sequence[Selected]) -> None:
        self.out, self.options, self.selected = out, options, selected

    @classmethod
    def require_packages(cls) -> None:
        """Raise `MissingPackageError` if a package that the format needs is not installed."""
        return

    @abstractmethod
    def add(self, batch: Batch) -> None:
        """Write the videos of one shard."""

    @abstractmethod
    def finish(self) -> Sequence[Described]:
        """Write what is left, and say what all of it is."""

    def warnings(self) -> Sequence[str]:
        """What a reader of the export should know."""
        return ()

    @property
    def dim(self) -> int | None:
        """Numbers of an embedding, the same in all splits.

        Raises:
            InputError: They differ.
        """
        dims = {one.split: one.dim for one in self.selected}
        if len(set(dims.values())) > 1:
            found = ", ".join(f"{split}: {dim}" for split, dim in dims.items())
            raise InputError(
                f"features {self.options.features!r} have not as many numbers in every split ({found}), and this "
                "format has one table: export one split at a time"
            )
        return next(iter(dims.values()))
