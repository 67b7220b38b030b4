"""The architecture of a model, as a value that can be written down."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from pathlib import Path
from typing import Self

from encoders.errors import ModelError
from encoders.options import Activation
from encoders.tables import JSON, as_table, check_keys, read_json, read_table
from encoders.torchvision_shim import import_open_clip

open_clip = import_open_clip()

CLIP_VOCAB_SIZE = 49408
"""Byte-pair tokens of CLIP's tokenizer, with start and end tokens. No other tokenizer is used, so no other size."""


MAX_LAYERS = 1_000
"""Of a tower; the deepest ViT that was published has 64. To build so many takes seconds."""
MAX_SIZE = 1 << 20
"""Of every other number of an architecture. What is within it may still be more than memory holds: see `num_bytes`."""


@dataclass(frozen=True, slots=True)
class VisionTower:
    """A CLIP vision transformer, in open_clip's words (`vision_cfg`). Sizes are in pixels."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    head_width: int = 64
    mlp_ratio: float = 4.0
    ls_init_value: float | None = None

    def __post_init__(self) -> None:
        _check_sizes(self, "vision_cfg", ("image_size", "patch_size", "width", "layers", "head_width", "mlp_ratio"))
        if self.image_size % self.patch_size:
            raise ModelError(
                f"vision_cfg: image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.width % self.head_width:
            raise ModelError(f"vision_cfg: width {self.width} is not a multiple of head_width {self.head_width}")

    @property
    def num_weights(self) -> int:
        """Numbers in its weights, with the alpha convolution and without the projection."""
        patches = 4 * self.patch_size**2 + (self.image_size // self.patch_size) ** 2 + 1
        return (patches + 5) * self.width + self.layers * _weights_of_a_block(self)


@dataclass(frozen=True, slots=True)
class TextTower:
    """A CLIP text transformer, in open_clip's words (`text_cfg`)."""

    context_length: int = 77
    vocab_size: int = CLIP_VOCAB_SIZE
    width: int = 512
    heads: int = 8
    layers: int = 12
    mlp_ratio: float = 4.0
    ls_init_value: float | None = None

    def __post_init__(self) -> None:
        _check_sizes(self, "text_cfg", ("context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"))
        if self.width % self.heads:
            raise ModelError(f"text_cfg: width {self.width} is not a multiple of heads {self.heads}")
        if self.context_length < 2:
            raise ModelError(f"text_cfg: context_length must be at least 2 (start and end), got {self.context_length}")
        if self.vocab_size != CLIP_VOCAB_SIZE:
            raise ModelError(f"text_cfg: vocab_size must be CLIP's {CLIP_VOCAB_SIZE}, got {self.vocab_size}")

    @property
    def num_weights(self) -> int:
        """Numbers in its weights, without the projection."""
        tokens = self.vocab_size + self.context_length
        return (tokens + 2) * self.width + self.layers * _weights_of_a_block(self)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model's name and architecture: a CLIP with ViT towers, as open_clip describes it."""

    name: str
    """One of open_clip's model names, or the stem of the file that describes it."""
    embed_dim: int
    vision_cfg: VisionTower
    text_cfg: TextTower
    quick_gelu: bool = False
    """Whether the towers use `x * sigmoid(1.702 x)`, as OpenAI's and Alpha-CLIP's weights need, instead of GELU."""

    def __post_init__(self) -> None:
        _check_sizes(self, "the model", ("embed_dim",))

    @property
    def image_size(self) -> int:
        """Height and width of the frames the model takes, in pixels."""
        return self.vision_cfg.image_size

    @property
    def patch_size(self) -> int:
        """Height and width of a patch, in pixels."""
        return self.vision_cfg.patch_size

    @property
    def context_length(self) -> int:
        """Tokens in a text, with the start token, the end token and the padding."""
        return self.text_cfg.context_length

    def text_length(self, max_words: int | None) -> int:
        """Tokens of a text that are read, with the start token and the end token.

        Raises:
            ValueError: more than the model can read.
        """
        if max_words is not None and max_words > self.context_length:
            raise ModelError(
                f"max_words must be at most {self.context_length}, which {self.name} reads, got {max_words}"
            )
        return max_words or self.context_length

    @property
    def num_weights(self) -> int:
        """Numbers in all weights.

        >>> round(ModelConfig.from_name_or_file("ViT-B-32-quickgelu").num_weights / 1e6)  # CLIP's 151, and the alpha
        152
        """
        vision, text = self.vision_cfg, self.text_cfg
        return vision.num_weights + text.num_weights + self.embed_dim * (vision.width + text.width) + 1

    @property
    def num_bytes(self) -> int:
        """What it takes at least in float32: its weights, the mask of its text tower, and one picture with alpha."""
        return 4 * (self.num_weights + self.context_length**2 + 4 * self.image_size**2)

    @property
    def activation(self) -> Activation:
        """What `quick_gelu` says, as a name."""
        return Activation.QUICK_GELU if self.quick_gelu else Activation.GELU

    @property
    def architecture(self) -> dict[str, JSON]:
        """Open_clip's description of the model: `embed_dim`, `vision_cfg`, `text_cfg`, `quick_gelu`."""
        return {key: value for key, value in asdict(self).items() if key != "name"}

    @classmethod
    def from_architecture(cls, name: str, architecture: object, where: str) -> Self:
        """Read open_clip's description of a model.

        Args:
            name: what to call it.
            architecture: a table as `architecture` gives it.
            where: where it was found, for messages: "model ViT-B-16".

        Raises:
            ValueError: a tower that is not a CLIP ViT, an unknown or missing key, or a value of the wrong type.
        """
        table = as_table(architecture, where)
        if reason := _why_unsupported(table):
            raise ModelError(f"{where}: {reason}. Only CLIP models with ViT towers can take an alpha channel here")
        check_keys(
            table, {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu"}, {"embed_dim", "vision_cfg", "text_cfg"}, where
        )
        embed_dim, quick_gelu = table["embed_dim"], table.get("quick_gelu", False)
        if not isinstance(embed_dim, int) or isinstance(embed_dim, bool):
            raise ModelError(f"'embed_dim' in {where} must be a whole number, got {embed_dim!r}")
        if not isinstance(quick_gelu, bool):
            raise ModelError(f"'quick_gelu' in {where} must be true or false, got {quick_gelu!r}")
        return cls(
            name=name,
            embed_dim=embed_dim,
            vision_cfg=read_table(VisionTower, table["vision_cfg"], f"vision_cfg of {where}"),
            text_cfg=read_table(TextTower, table["text_cfg"], f"text_cfg of {where}"),
            quick_gelu=quick_gelu,
        )

    @classmethod
    def from_name_or_file(cls, model: str) -> Self:
        """Find a model by open_clip's name ("ViT-B-16-quickgelu") or in a JSON file in open_clip's format.

        Raises:
            ValueError: an unknown name (close ones are listed), a file that is not JSON, or an architecture that is not
                supported.
        """
        if model in open_clip.list_models():
            return cls.from_architecture(model, open_clip.get_model_config(model), f"model {model}")
        path = Path(model)
        if not path.is_file():
            close = difflib.get_close_matches(model, open_clip.list_models(), n=4, cutoff=0.5)
            hint = f"did you mean {', '.join(close)}?" if close else "names look like ViT-B-16-quickgelu"
            raise ModelError(f"unknown model {model!r}: it is neither a model of open_clip nor a file; {hint}")
        return cls.from_architecture(path.stem, read_json(path), str(path))


def supported_models() -> list[ModelConfig]:
    """All of open_clip's models that can take an alpha channel, in its order."""
    described = {name: open_clip.get_model_config(name) for name in open_clip.list_models()}
    return [
        ModelConfig.from_architecture(name, architecture, f"model {name}")
        for name, architecture in described.items()
        if not _why_unsupported(architecture)
    ]


def _why_unsupported(architecture: Mapping[str, object]) -> str:
    """Why an architecture is not a CLIP with ViT towers; an empty text if it is one."""
    vision, text = (architecture.get(key) for key in ("vision_cfg", "text_cfg"))
    vision, text = (part if isinstance(part, Mapping) else {} for part in (vision, text))
    reasons = {
        "the vision tower is a ResNet": isinstance(vision.get("layers"), list),
        "the vision tower comes from timm": "timm_model_name" in vision,
        "it is a CoCa model": "multimodal_cfg" in architecture,
        "the text tower comes from Hugging Face": "hf_model_name" in text,
        "the tokenizer is not CLIP's": "hf_tokenizer_name" in text,
    }
    return next((reason for reason, applies in reasons.items() if applies), "")


def _weights_of_a_block(tower: VisionTower | TextTower) -> int:
    """Numbers in the weights of one residual attention block of open_clip."""
    width, hidden = tower.width, int(tower.width * tower.mlp_ratio)
    scales = 0 if tower.ls_init_value is None else 2 * width
    return 4 * width**2 + 2 * width * hidden + 9 * width + hidden + scales


def _check_sizes(values: object, where: str, names: tuple[str, ...]) -> None:
    for name in names:
        value, most = getattr(values, name), MAX_LAYERS if name == "layers" else MAX_SIZE
        if not value > 0:
            raise ModelError(f"{where}: {name} must be positive, got {value!r}")
        if value > most:
            got = f"{value:,}" if value < 10**12 else f"{Decimal(value):.2e}"  # an int of JSON may have 4,000 digits
            raise ModelError(f"{where}: {name} must be at most {most:,}, got {got}")
