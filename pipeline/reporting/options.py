"""What goes into the page."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import OptionError
from pipeline.evaluation.options import require_protocol
from pipeline.run.fields import convert_fields, local_path


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What goes into the page."""

    title: str | None = None
    """Default: the name of the data set."""
    splits: tuple[str, ...] = ()
    """Splits to score. Default: those with features but for `train`, or `train` if it alone has some."""
    features: tuple[str, ...] = ()
    """Feature sets to score, the first being the one that others are compared with. Default: all, by
    name; where there are more than 8, the newest 8."""
    protocol: str = "fda"
    """How ranks are counted: one of `PROTOCOLS`."""
    thumbnails: bool = True
    """Whether there are frames of videos in the page, which is then under 5 MB rather than 2."""
    experiments: Path | None = None
    """Folder of an experiment, or one with folders of several. Default: what lies beside the store."""
    overwrite: bool = False
    """Replace the page, if there is one."""

    def __post_init__(self) -> None:
        convert_fields(self, splits=tuple, features=tuple, experiments=local_path)
        require_protocol(self.protocol)
        for what in ("splits", "features"):
            names = getattr(self, what)
            if twice := [name for index, name in enumerate(names) if name in names[:index]]:
                raise OptionError(f"{what} has {twice[0]!r} twice")
