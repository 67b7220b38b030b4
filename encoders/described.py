"""A tower in open_clip's own words, for architectures that are more than a CLIP vision or text transformer."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal
from pathlib import Path
from typing import Any, Self

from encoders.errors import ModelError
from encoders.tables import JSON, as_table, check_keys
from encoders.torchvision_shim import import_open_clip, import_timm

open_clip = import_open_clip()

MAX_LAYERS = 1_000
"""Of a tower; the deepest ViT that was published has 64. To build so many takes seconds."""
MAX_SIZE = 1 << 20
"""Of every other number of an architecture. What is within it may still be more than memory holds."""

CLIP_VOCAB_SIZE = 49408
"""Byte-pair tokens of CLIP's tokenizer, with start and end tokens: what a text tower has without another tokenizer."""
DEFAULT_CONTEXT = 77
"""Tokens that open_clip gives a text tower whose description does not say it: those of Hugging Face."""

_NO_SIZES = {"pad_id", "eos_id"}
"""Whole numbers that are no sizes."""
_DEPTHS = {"layers"}


@dataclass(frozen=True, slots=True)
class DescribedTower:
    """What open_clip's model file says of one tower, each key checked."""

    settings: Mapping[str, JSON]
    """Key of open_clip's `CLIPVisionCfg` or `CLIPTextCfg` -> value. What is not given has open_clip's default."""

    @property
    def timm_name(self) -> str | None:
        """Of the timm model that the vision tower is; None if it is open_clip's own."""
        name = self.settings.get("timm_model_name")
        return name if isinstance(name, str) else None

    @property
    def hf_name(self) -> str | None:
        """Of the Hugging Face model that the text tower is: on its hub, or a folder. None if it is open_clip's own."""
        name = self.settings.get("hf_model_name")
        return name if isinstance(name, str) else None

    def beside(self, folder: Path) -> Self:
        """The same text tower, whose names of Hugging Face are taken for folders where there are such beside it."""
        names = {name: self.settings.get(name) for name in ("hf_model_name", "hf_tokenizer_name")}
        found = {name: folder / value for name, value in names.items() if isinstance(value, str)}
        there: dict[str, JSON] = {name: str(path.absolute()) for name, path in found.items() if path.is_dir()}
        return type(self)({**self.settings, **there}) if there else self

    @property
    def tokenizer_folder(self) -> Path | None:
        """Where the tokenizer of the text tower lies, if that is a folder of this machine."""
        name = self.settings.get("hf_tokenizer_name")
        # Only an absolute path: a name on the hub may be that of a folder in the working folder, too.
        is_folder = isinstance(name, str) and Path(name).is_absolute() and Path(name).is_dir()
        return Path(name) if isinstance(name, str) and is_folder else None

    @property
    def image_size(self) -> int:
        """Of a vision tower: height and width of its frames, in pixels."""
        return self._whole_number("image_size", 224)

    @property
    def context_length(self) -> int:
        """Of a text tower: the tokens it reads."""
        return self._whole_number("context_length", DEFAULT_CONTEXT)

    @property
    def is_causal(self) -> bool:
        """Of a text tower: whether a token attends only to those before it, and one that a text has stands for it."""
        settings = self.settings
        looks_on = settings.get("no_causal_mask") or settings.get("embed_cls") or self.hf_name is not None
        # `argmax` finds the end token, whose number is the largest. `last` would read the last column: padding.
        return not looks_on and settings.get("pool_type", "argmax") in ("argmax", "eos", "first")

    def _whole_number(self, key: str, default: int) -> int:
        value = self.settings.get(key, default)
        assert isinstance(value, int)
        return value

    @classmethod
    def vision(cls, description: object, where: str) -> Self:
        """Read `vision_cfg`.

        Raises:
            ModelError: a key that open_clip does not know, a value of another type or out of range, or a model that
                timm does not have.
        """
        table = _checked(description, open_clip.CLIPVisionCfg(), where)
        tower = cls(table)
        name = tower.timm_name
        timm = None if name is None else import_timm()
        if timm is not None and not timm.is_model(name):  # also names of hubs, from which timm would download code
            close = difflib.get_close_matches(name, timm.list_models(), n=3)
            hint = f"; did you mean {', '.join(close)}?" if close else ""
            raise ModelError(f"{where}: timm {timm.__version__} has no model {name!r}{hint}")
        if name is None and table.get("patch_size") is None and not isinstance(table.get("layers"), list):
            raise ModelError(f"{where} lacks patch_size")
        if "image_size" not in table:
            raise ModelError(f"{where} lacks image_size")
        return tower

    @classmethod
    def text(cls, description: object, where: str) -> Self:
        """Read `text_cfg`.

        Raises:
            ModelError: a key that open_clip does not know, a value of another type or out of range, or a vocabulary
                without its tokenizer.
        """
        table = _checked(description, open_clip.CLIPTextCfg(), where)
        if table.get("hf_tokenizer_name") is None:
            if "hf_model_name" in table:
                raise ModelError(f"{where} lacks hf_tokenizer_name")
            vocab_size = table.get("vocab_size", CLIP_VOCAB_SIZE)
            if not isinstance(vocab_size, int) or vocab_size < CLIP_VOCAB_SIZE:  # CoCa has rows to spare
                raise ModelError(
                    f"{where}: vocab_size must be CLIP's {CLIP_VOCAB_SIZE} or more, got {vocab_size!r}; a text tower "
                    "with other tokens names its tokenizer in hf_tokenizer_name"
                )
        return cls(table)


def check_size(where: str, name: str, value: int | float) -> None:
    """Refuse a number of an architecture that is not positive, or larger than any machine builds.

    Raises:
        ModelError: it is.
    """
    most = MAX_LAYERS if name in _DEPTHS else MAX_SIZE
    # And not `value <= 0`: NaN is refused as well.
    if not value > 0:
        raise ModelError(f"{where}: {name} must be positive, got {value!r}")
    if value > most:
        got = f"{value:,}" if value < 10**12 else f"{Decimal(value):.2e}"  # an int of JSON may have 4,000 digits
        raise ModelError(f"{where}: {name} must be at most {most:,}, got {got}")


def _checked(description: object, defaults: Any, where: str) -> dict[str, JSON]:
    """A table whose keys and types are those of one of open_clip's dataclasses."""
    table = as_table(description, where)
    check_keys(table, {field.name for field in fields(defaults)}, set(), where)
    for name, value in table.items():
        _check_value(name, value, getattr(defaults, name), where)
    return dict(table)  # type: ignore[arg-type]  # each value is checked


def _check_value(name: str, value: object, default: object, where: str) -> None:
    """A value is of the type of its default; where that is None, of the type that its name says, or none."""
    if name == "layers" and isinstance(value, list):  # the stages of a ResNet
        if len(value) != 4 or not all(isinstance(one, int) for one in value):
            raise ModelError(f"{name!r} in {where} must be a whole number or four of them, got {value!r}")
        for one in value:
            check_size(where, name, one)
        return
    match default:
        # Before `int`: a bool is one.
        case bool():
            fits, wanted = isinstance(value, bool), "true or false"
        case int():
            fits, wanted = isinstance(value, int) and not isinstance(value, bool), "a whole number"
        case float():
            fits, wanted = isinstance(value, int | float) and not isinstance(value, bool), "a number"
        case str():
            fits, wanted = isinstance(value, str) or value is None, "a text"
        case _ if name.endswith("_kwargs"):
            fits, wanted = isinstance(value, dict) or value is None, "a table"
        case _ if name.endswith(("_name", "_type", "_mode")):
            fits, wanted = isinstance(value, str) or value is None, "a text"
        case _:
            fits = (isinstance(value, int | float) and not isinstance(value, bool)) or value is None
            wanted = "a number"
    # timm's sizes are timm's own: open_clip's files say null for what they do not use.
    if value is None and name in ("patch_size", "timm_proj", "timm_pool"):
        return
    if not fits:
        raise ModelError(f"{name!r} in {where} must be {wanted}, got {value!r}")
    is_size = isinstance(default, int) and not isinstance(default, bool) and name not in _NO_SIZES
    if isinstance(value, int | float) and (is_size or name == "mlp_ratio"):
        check_size(where, name, value)
