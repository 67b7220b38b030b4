"""How each process gets its encoder."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

from encoders.devices import move_to
from encoders.encoding.encoder import Encoder
from encoders.errors import WeightsMismatchError
from encoders.model import AlphaClip
from encoders.options import ModelSource, Pooling, Precision
from encoders.weights.loading import load


class Encoders(Protocol):
    """Gives the process that asks its encoder."""

    def __call__(self) -> Encoder:
        """Make it, or take the one that was made before."""


@dataclass(frozen=True, slots=True)
class EncoderHere:
    """An encoder that is there already, for tasks that run in this process."""

    encoder: Encoder

    def __call__(self) -> Encoder:
        """The encoder."""
        return self.encoder


@dataclass(frozen=True, slots=True)
class EncoderOfWorker:
    """How a worker makes its encoder, once; it must find the same files under the same paths."""

    source: ModelSource
    sha256: str
    """Of the weights that the coordinator has loaded."""
    device: str
    precision: Precision
    pooling: Pooling
    batch_frames: int | None
    max_words: int | None
    truncate_dim: int | None
    compiled: bool

    def __call__(self) -> Encoder:
        """Load the model, unless this process has it.

        Raises:
            WeightsMismatchError: This machine has other weights under the same name.
        """
        return _encoder_of_worker(self)

    def of(self, model: AlphaClip) -> Encoder:
        """The encoder, of a model that is loaded and where it belongs."""
        return Encoder(
            model,
            precision=self.precision,
            pooling=self.pooling,
            batch_frames=self.batch_frames,
            max_words=self.max_words,
            truncate_dim=self.truncate_dim,
            compiled=self.compiled,
        )


@lru_cache(maxsize=1)
def _encoder_of_worker(wanted: EncoderOfWorker) -> Encoder:
    loaded = load(wanted.source)
    # The same name may be another file there, and features of two models would lie in one set.
    if loaded.report.sha256 != wanted.sha256:
        raise WeightsMismatchError(
            f"the weights {loaded.report.source} have SHA-256 {loaded.report.sha256} on this worker and "
            f"{wanted.sha256} where the run was started: put the same files on every machine"
        )
    move_to(loaded.model, wanted.device)
    return wanted.of(loaded.model)
