"""The store at a place: whether it opens, what it is, who writes into it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from pipeline.doctor.checks import Check, State
from pipeline.doctor.disk import nearest_folder, why_not_writable
from pipeline.run.words import plural

GROUP = "store"


def check(place: str | None) -> Iterator[Check]:
    """Open it; a place where none is yet is a place for one."""
    if place is None:
        return
    # Here, because they import much: what is broken there is no row of a store where none was given.
    from store.claims.holding import claims_on
    from store.errors import StoreError
    from store.places.opening import folder_at
    from store.store import MANIFEST_NAME, Store

    try:
        folder = folder_at(place)
        if not folder.is_local:
            _be_impatient()
        is_there = folder.num_bytes(MANIFEST_NAME) is not None
    except StoreError as error:
        remedy = "check AWS_ENDPOINT_URL, AWS_REGION and the credentials" if "://" in place else "give another place"
        yield Check(GROUP, "place", State.MISSING, str(error), remedy=remedy)
        return
    if not is_there:
        kind = "a folder without a store" if folder.is_local and Path(place).is_dir() else "nothing yet"
        why_not = why_not_writable(nearest_folder(Path(place))) if folder.is_local else None
        if why_not is not None:
            remedy = "give another folder, or change its permissions"
            yield Check(GROUP, "place", State.WARNING, f"{folder.place}: {kind}; {why_not}", remedy=remedy)
            return
        yield Check(GROUP, "place", State.OK, f"{folder.place}: {kind}", used="`fda preprocess` makes a store there")
        return
    try:
        store = Store.open(folder)
    except StoreError as error:
        yield Check(GROUP, "place", State.MISSING, str(error), remedy=f"fda verify {place} says what is damaged")
        return
    manifest = store.manifest
    splits = [f"{split} {plural(layout.num_videos, 'video')}" for split, layout in manifest.splits.items()]
    yield Check(GROUP, "place", State.OK, f"{store.place} opens: {', '.join(splits)}")
    shard = f"{plural(manifest.shard_size, 'video')} a shard"
    yield Check(GROUP, "format", State.OK, f"{manifest.format_version}; frames as {manifest.frame_codec}, {shard}")
    claims = claims_on(store.folder)
    for claim in claims:
        found = f"claimed by {claim}"
        remedy = "wait for it, or give --wait; the claim of a run that has died ends by itself"
        yield Check(GROUP, "claim", State.WARNING, found, remedy=remedy)
    if not claims:
        yield Check(GROUP, "claims", State.OK, "none: nobody writes into it")


def _be_impatient() -> None:
    """Tell in seconds why S3 does not answer. A run would wait for minutes; this child process does nothing else."""
    from store.places import s3

    s3.PATIENCE = replace(s3.PATIENCE, attempts=2, connect_seconds=3.0, read_seconds=5.0)
