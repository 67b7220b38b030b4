"""What `--overwrite` removes: named first, and only with a second word where it took long to make."""

from __future__ import annotations

from collections.abc import Sequence

from pipeline.errors import PipelineError
from pipeline.run.events import Reporter
from pipeline.run.words import plural
from store.own_files import OwnFile, Part


class UnconfirmedError(PipelineError, ValueError):
    """`overwrite` would remove feature sets or a checkpoint, or make feature sets useless, and `yes` is not set."""


def announce(files: Sequence[OwnFile], place: str, report: Reporter, *, yes: bool) -> None:
    """Say which files of a store are about to be removed; nothing is removed here.

    Raises:
        UnconfirmedError: See `confirm`.
    """
    confirm(files, place, yes=yes)
    if files:
        report.say(f"--overwrite removes {described(files)} from {place}")


def confirm(files: Sequence[OwnFile], place: str, *, yes: bool) -> None:
    """Refuse to remove feature sets that nobody asked for.

    Raises:
        UnconfirmedError: There are feature sets among the files, and `yes` is not set.
    """
    if _names(files, "features") and not yes:
        raise UnconfirmedError(
            f"--overwrite would remove {described(files)} from {place}: give --yes as well to remove feature sets"
        )


def confirm_stale(features: Sequence[str], masks: str, report: Reporter, *, yes: bool) -> None:
    """Name the feature sets that are of no use once a mask set is removed.

    Raises:
        UnconfirmedError: There are some, and `yes` is not set.
    """
    if not features:
        return
    named = _quoted("features", features)
    if not yes:
        raise UnconfirmedError(
            f"--overwrite would remove masks {masks!r}, from which {named} were "
            "made: after that they are out of date, unless the new masks are the same. Give --yes as well, or give "
            "the new masks another name"
        )
    report.warn(f"{named}: made from masks {masks!r}, so out of date unless the new masks are the same")


def described(files: Sequence[OwnFile]) -> str:
    """What files are, in words.

    >>> described([OwnFile("clips.zarr/test/frames/c.0", 2**20, Part.DATA, "test", "frames")])
    "frames of 'test' (1 file, 1.0 MiB)"
    """
    splits = dict.fromkeys(own.split for own in files if own.kind == "frames" and own.split)
    named = [
        _quoted("frames of", list(splits)) if splits else "",
        *(_quoted(kind, names) for kind in ("masks", "features") if (names := _names(files, kind))),
        "the catalogue" if any(own.part is Part.CATALOG for own in files) else "",
        "run records" if any(own.part is Part.RUN for own in files) else "",
    ]
    size = f"{plural(len(files), 'file')}, {sum(own.num_bytes for own in files) / 2**20:,.1f} MiB"
    return f"{'; '.join(filter(None, named)) or 'metadata'} ({size})"


def _names(files: Sequence[OwnFile], kind: str) -> list[str]:
    return list(dict.fromkeys(own.set_name for own in files if own.kind == kind and own.set_name is not None))


def _quoted(kind: str, names: Sequence[str]) -> str:
    return f"{kind} {', '.join(map(repr, names))}"
