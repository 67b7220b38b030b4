"""Errors that a caller can tell apart. Each is also the builtin that fits it."""

from __future__ import annotations

from typing import Self


def first_line(error: BaseException) -> str:
    """What a library's error says, for a message of one line: its first line, or its class if it says nothing.

    >>> first_line(ValueError("no such device.\\nUse one of ..."))
    'no such device'
    >>> first_line(KeyError())
    'KeyError'
    """
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


class EncoderError(Exception):
    """Something is wrong with a model, with its weights or with a training run."""


class WeightsError(EncoderError):
    """Weights that cannot be used."""


class WeightsMissingError(WeightsError, FileNotFoundError):
    """There are no weights at this place, or they could not be downloaded."""


class WeightsFormatError(WeightsError, ValueError):
    """The file is not a weights file this version can read: empty, cut short, a web page, another format."""


class WeightsMismatchError(WeightsError, ValueError):
    """The weights can be read, but they are not this model's: other tensors, shapes, activation or bytes."""


class TrainMemoryError(EncoderError, MemoryError):
    """A training step does not fit into memory. The weights are those of the step before."""


class DivergedError(EncoderError, ArithmeticError):
    """A loss or a gradient is not finite. The weights are those of the step before."""


class ModelError(EncoderError, ValueError):
    """There is no such model, or it cannot be used here."""


class SettingError(EncoderError, ValueError):
    """A setting has a value that it cannot have."""


class DeviceError(EncoderError, ValueError):
    """There is no such device, or torch cannot use it here."""

    @classmethod
    def of(cls, device: str, error: Exception) -> Self:
        """From the device as it was given, and what torch raised."""
        return cls(f"cannot use device {device!r}: {first_line(error)}")


class DeviceMemoryError(EncoderError, MemoryError):
    """A device has too little memory for a model."""


class NotFiniteError(EncoderError, ArithmeticError):
    """An embedding is NaN or infinite: the weights are broken."""


class ProcessesError(EncoderError, RuntimeError):
    """The processes that train one model together cannot reach each other."""
