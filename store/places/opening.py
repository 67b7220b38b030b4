"""The folder of a store at a path or an address."""

from __future__ import annotations

from os import PathLike, fspath

from store.places.folder import StoreFolder


def folder_at(place: str | PathLike[str]) -> StoreFolder:
    """The folder at a path, or at an `s3://bucket/prefix` address; it need not exist yet.

    Each kind of folder is imported on first use: s3fs and botocore take most of a second to import.

    Raises:
        StorePlaceError: A store cannot be at this place.
    """
    if "://" in fspath(place):
        from store.places.objects import ObjectFolder

        return ObjectFolder.at(fspath(place))
    from store.places.local import LocalFolder

    return LocalFolder.at(place)
