"""The log of each training step: a line of JSON, and TensorBoard's event files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from tensorboardX import SummaryWriter

from encoders.replacing import replacing
from pipeline.training.checkpoint import LOG_FILE, TENSORBOARD_FOLDER
from store.json_values import JSON


class TrainingLog:
    """Writes logs to the folder of a run. Lines of a killed run after the step at which it is resumed are dropped."""

    def __init__(self, folder: Path, num_done: int) -> None:
        """Start a log, or continue one after `num_done` steps."""
        path = folder / LOG_FILE
        lines = _lines_up_to(path, num_done)
        # Rewritten whole: cut in place, a second kill could leave half of it.
        with replacing(path) as temporary:
            temporary.write_text("".join(lines), encoding="utf-8")
        self._file = path.open("a", encoding="utf-8")
        # TensorBoard hides what an earlier file has from this step on.
        self._writer = SummaryWriter(str(folder / TENSORBOARD_FOLDER), purge_step=num_done + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
        self._writer.close()

    def step(self, step: int, scalars: Mapping[str, float], **more: JSON) -> None:
        """Log scalars of a step, counted from 1, and `more` values that TensorBoard does not get."""
        print(json.dumps({"step": step, **scalars, **more}), file=self._file, flush=True)
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)


def _lines_up_to(path: Path, num_done: int) -> list[str]:
    """The complete lines of the steps up to `num_done`."""
    if not path.is_file():
        return []
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines(keepends=True):
        try:
            step = json.loads(line)["step"]
        except (ValueError, LookupError, TypeError):
            break  # cut off by the kill
        if not line.endswith("\n") or step > num_done:
            break
        kept.append(line)
    return kept
