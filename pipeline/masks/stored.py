"""How the masks of a mask set that is in a store were made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

from pipeline.errors import InputError
from pipeline.masks.options import MaskOptions
from store.clips.mask_sets import mask_attributes
from store.store import Store


def stored_mask_options(store: Store, split: str, name: str) -> MaskOptions | None:
    """The options with which `fda masks` or `fda preprocess` made a mask set.

    Returns:
        None if the masks were imported: each then belongs to its frame, whatever frames stand beside it.

    Raises:
        InputError: Another version made it, with options that are not known here.
        NotInStoreError: There is no such split or mask set.
    """
    options = mask_attributes(store, split, name).get("options")
    if not isinstance(options, Mapping):
        options = {}
    if "imported" in options:
        return None
    known = {field.name for field in fields(MaskOptions)}
    if not options or (unknown := sorted(set(options) - known)):
        what = f"with the options {', '.join(unknown)}, which are not known here" if options else "without any options"
        raise InputError(
            f"masks {name!r} of {store.place} were made {what}, so they cannot be computed for frames that are drawn "
            f"at random: make a set with `fda masks --masks another`, or take all frames (--set frames=0)"
        )
    make: Callable[..., MaskOptions] = MaskOptions
    return make(**options)
