"""Errors that callers distinguish. Each is also the builtin error that fits it."""

from __future__ import annotations

from store.remedies import RUN_AGAIN


class StoreError(Exception):
    """Something is wrong with a store or with a request to it."""


class StoreMissingError(StoreError, FileNotFoundError):
    """There is no store at this place."""


class StorePlaceError(StoreError, ValueError):
    """A store cannot lie at this place."""


class StoreFormatError(StoreError, ValueError):
    """The folder contains something, but not a store that this version can read."""


class StoreMismatchError(StoreError, ValueError):
    """The store was made with other inputs or options than those given now."""


class NotInStoreError(StoreError, KeyError):
    """The store does not contain this split, video, mask set or feature set."""

    def __str__(self) -> str:  # a KeyError would print the message quoted
        return str(self.args[0]) if self.args else ""


class ShardIncompleteError(StoreError, RuntimeError):
    """A shard that is needed is pending: not committed, data missing, or out of date."""


class ShardRebuiltError(ShardIncompleteError):
    """A shard was made again, or removed, since it was opened: what was read of it before is of another version."""


class ShardDamagedError(StoreError, ValueError):
    """The bytes of a shard are not those that were written."""


class ClaimLostError(StoreError, RuntimeError):
    """Another run considered this one dead and claimed the store: this run must not write any more."""

    @classmethod
    def of(cls, place: str) -> ClaimLostError:
        """The error of a run that wrote into the store at `place`."""
        return cls(
            f"this run has lost its claim on {place}: it gave no sign of life for so long that another run claimed "
            f"the store. What is committed is kept; once the other run has ended, {RUN_AGAIN}"
        )


class StoreBusyError(StoreError, RuntimeError):
    """Another run is writing there."""


class StoreWriteError(StoreError, OSError):
    """A file could not be written: the disk is full, read-only or failing."""


class StoreReadError(StoreError, OSError):
    """A file could not be read: the server is failing, out of reach or refuses."""


class StoreNameError(StoreError, ValueError):
    """A split, mask set or feature set cannot have this name."""
