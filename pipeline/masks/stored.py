"""How the masks of a mask set that is in a store were made: computed, and with which options, or imported."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields

from pipeline.errors import InputError
from pipeline.masks.options import GROUND, MaskOptions
from store.clips.mask_sets import mask_attributes, mask_names
from store.errors import StoreMismatchError
from store.json_values import JSON
from store.store import Store


def check_origin(store: Store, name: str, *, is_imported: bool) -> None:
    """Refuse to make a mask set under the name of one that was made in the other way: they share no option to compare.

    Args:
        store: Of both.
        name: Of the mask set; there may be none of it.
        is_imported: Whether the new one is imported, and not computed.

    Raises:
        StoreMismatchError: See above.
    """
    for split in store.manifest.splits:
        if name not in mask_names(store, split):
            continue
        if _is_imported(mask_attributes(store, split, name)) is not is_imported:
            was, command = ("computed", "import-masks") if is_imported else ("imported", "masks")
            raise StoreMismatchError(
                f"masks {name!r} of {store.place} were {was}: give these another name (--masks), or remove those first "
                f"with `fda {command} --masks {name} --overwrite`"
            )


def _is_imported(attributes: Mapping[str, JSON]) -> bool:
    options = attributes.get("options")
    return isinstance(options, Mapping) and "imported" in options


def stored_mask_options(store: Store, split: str, name: str) -> MaskOptions | None:
    """The options with which `fda masks` or `fda preprocess` made a mask set.

    Returns:
        None if the masks were imported: each then belongs to its frame, whatever frames stand beside it.

    Raises:
        InputError: Another version made it, with options that are not known here.
        NotInStoreError: There is no such split or mask set.
    """
    attributes = mask_attributes(store, split, name)
    if _is_imported(attributes):
        return None
    found = attributes.get("options")
    options = dict(found) if isinstance(found, Mapping) else {}
    ground = options.pop(GROUND, None)
    known = {field.name for field in fields(MaskOptions)}
    if not options or (unknown := sorted(set(options) - known)):
        what = f"with the options {', '.join(unknown)}, which are not known here" if options else "without any options"
        raise InputError(
            f"masks {name!r} of {store.place} were made {what}, so they cannot be computed for frames that are drawn "
            f"at random: make a set with `fda masks --masks another`, or take all frames (--set frames=0)"
        )
    make: Callable[..., MaskOptions] = MaskOptions
    made = make(**options)
    if made.identity().get(GROUND) != ground:
        raise InputError(
            f"masks {name!r} of {store.place} were made by another version, which found the ground otherwise, so they "
            "cannot be computed for frames that are drawn at random: make them again with their options (`fda masks "
            f"--masks {name} --difference {made.difference} ... --overwrite`), or take all frames (--set frames=0)"
        )
    return made
