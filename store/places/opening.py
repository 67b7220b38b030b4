"""Finding the folder of a store by its address."""

from __future__ import annotations

from os import PathLike, fspath

from store.places.folder import StoreFolder


def folder_at(place: str | PathLike[str]) -> StoreFolder:
    """The folder at a path, or at an `s3://bucket/prefix` address; it need not exist yet.

    Each kind of folder is imported when it is asked for: s3fs and botocore take most of a second.

    Raises:
        StorePlaceError: A store cannot lie there.
    """
    if "://" in fspath(place):
        from store.places.objects import ObjectFolder

        return ObjectFolder.at(fspath(place))
    from store.places.local import LocalFolder

    return LocalFolder.at(place)
