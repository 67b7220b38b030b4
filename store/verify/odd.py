"""Finding what is no file where a file should be, and no folder where a folder should be: links, FIFOs and the like."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from store.own_files import OwnFile, own_folder, own_name
from store.places.folder import Scan, StoredFile
from store.verify.findings import BY_HAND, Finding, Kind

_AWAY = "move it away; then `fda verify` says what is missing, and what rebuilds it"
_ITSELF = "put what it points at in its place, or remove the link; nothing behind it is read, written or removed"
_PERMISSIONS = "change its permissions, or run as its owner"


@dataclass(frozen=True, slots=True)
class OddNames:
    """Names of a store at which something else lies."""

    names: frozenset[str]

    def hide(self, name: str) -> bool:
        """Whether something else lies at a name, or at that of a folder above it: nothing is known about the file.

        >>> odd = OddNames(frozenset({"commits/test"}))
        >>> odd.hide("commits/test/frames/00000.parquet"), odd.hide("commits/tests")
        (True, False)
        """
        parts = name.split("/")
        return any("/".join(parts[:depth]) in self.names for depth in range(1, len(parts) + 1))


def find_odd(found: Scan, own: Iterable[OwnFile], splits: Collection[str]) -> list[Finding]:
    """What a store cannot be read or written past, and, as harmless, all that is only strange.

    Args:
        found: Everything in the folder of the store.
        own: The files that are the store's.
        splits: Of the store.
    """
    findings = []
    for name, what in sorted(found.odd.items()):
        if own_name(StoredFile(name, 0)) is None and not own_folder(name):
            sentence = f"it is {what}, of no store, and nothing reads it"
            findings.append(Finding(Kind.FOREIGN, name, sentence, BY_HAND))
        elif what.startswith("a link"):
            findings.append(Finding(Kind.LINK, name, f"it is {what}", _ITSELF))
        else:
            remedy = _PERMISSIONS if "may not read" in what else _AWAY
            findings.append(Finding(Kind.ODD, name, f"it is {what}, where a file or folder should be", remedy))
    needed = set(_folders(own, splits))
    for names, what in (
        ([name for name in found.folders if own_name(StoredFile(name, 0))], "a folder, and not the file"),
        ([name for name in found.files if name in needed], "a file, and not the folder"),
    ):
        findings += [Finding(Kind.ODD, name, f"it is {what} that should be there", _AWAY) for name in names]
    return findings


def _folders(own: Iterable[OwnFile], splits: Collection[str]) -> Iterator[str]:
    """The folders that a store with these splits and files has, or needs as soon as it is written to."""
    yield from ("catalog", "clips.zarr", "features.zarr", "commits", "withdrawn", "runs", "claims", "partial")
    sets = {(file.kind, file.set_name) for file in own if file.set_name is not None}
    for split in splits:
        for root in ("commits", "withdrawn"):
            yield from (f"{root}/{split}", *(f"{root}/{split}/{kind}" for kind in ("frames", "masks", "features")))
            yield from (f"{root}/{split}/{kind}/{name}" for kind, name in sets)
        arrays = ("frames", "next_grey", "pts_seconds", "frame_index", "masks")
        yield from (f"clips.zarr/{split}", *(f"clips.zarr/{split}/{array}" for array in arrays))
        for kind, name in sets:
            if kind == "masks":
                yield f"clips.zarr/{split}/masks/{name}"
            else:
                parts = ("video", "frame", "alpha_cosine", "text", "num_dropped")
                yield from (f"features.zarr/{name}", f"features.zarr/{name}/{split}")
                yield from (f"features.zarr/{name}/{split}/{part}" for part in parts)
                yield from (f"commits/{split}/features/{name}/{part}" for part in ("video", "text"))
