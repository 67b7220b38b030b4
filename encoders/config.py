"""The architecture of a model, as a value that can be written down."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Self, TypeVar

from encoders.described import CLIP_VOCAB_SIZE, DescribedTower, check_size
from encoders.errors import ModelError
from encoders.options import Activation
from encoders.repositories import Repository, files_digest, tokenizer_files
from encoders.tables import JSON, as_table, check_keys, read_json, read_table
from encoders.torchvision_shim import INSTALL_TRANSFORMERS, import_open_clip, why_no_transformers

open_clip = import_open_clip()

Colours = tuple[float, float, float]
"""A number for each of R, G and B."""
CLIP_MEAN: Colours = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD: Colours = (0.26862954, 0.26130258, 0.27577711)
"""CLIP's mean and standard deviation, where a pixel is 0..1."""


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
        # First: the rest divides by these sizes.
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
        # For each number of the width: a patch of three colours and alpha, the positions of all patches and of the
        # class token.
        patches = 4 * self.patch_size**2 + (self.image_size // self.patch_size) ** 2 + 1
        # 5: the class token, then the factors and the summands of `ln_pre` and of `ln_post`.
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
        # 2: the factors and the summands of `ln_final`.
        return (tokens + 2) * self.width + self.layers * _weights_of_a_block(self)


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A model's name and architecture: two towers, as open_clip describes them, and how pixels are normalised."""

    name: str
    """One of open_clip's model names, or the stem of the file that describes it."""
    embed_dim: int
    vision_cfg: VisionTower | DescribedTower
    text_cfg: TextTower | DescribedTower
    quick_gelu: bool = False
    """Whether open_clip's towers use `x * sigmoid(1.702 x)`, as OpenAI's and Alpha-CLIP's weights need, instead of
    GELU. timm's towers are not asked."""
    custom_text: bool = False
    """Whether the text tower is a module of its own, whose names begin with `text.`."""
    multimodal_cfg: Mapping[str, JSON] | None = None
    """What CoCa's decoder of captions is; only the two towers before it are built."""
    init_logit_bias: float | None = None
    """Where the bias of the sigmoid loss starts; None: the model has none."""
    mean: Colours = CLIP_MEAN
    std: Colours = CLIP_STD
    """Of the pixels that the vision tower expects: `(x / 255 - mean) / std`."""

    def __post_init__(self) -> None:
        _check_sizes(self, "the model", ("embed_dim",))
        for name in ("mean", "std"):
            value = getattr(self, name)
            if len(value) != 3 or not all(isinstance(one, float) and abs(one) <= 1 for one in value):
                raise ModelError(f"{name} must be three numbers within -1..1, for R, G and B, got {value!r}")
        if not all(one > 0 for one in self.std):
            raise ModelError(f"std must be above 0, got {self.std!r}")

    @property
    def image_size(self) -> int:
        """Height and width of the frames the model takes, in pixels."""
        return self.vision_cfg.image_size

    @property
    def context_length(self) -> int:
        """Tokens in a text, with the start token, the end token and the padding."""
        return self.text_cfg.context_length

    @property
    def is_causal(self) -> bool:
        """Whether a token of a text attends only to those before it, so that nothing after its end is looked at."""
        return not isinstance(self.text_cfg, DescribedTower) or self.text_cfg.is_causal

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

    def kept_dim(self, truncate_dim: int | None) -> int | None:
        """First numbers of an embedding that are kept; None: all of them.

        Raises:
            ModelError: there are fewer, or none is kept.
        """
        if truncate_dim is not None and not 1 <= truncate_dim <= self.embed_dim:
            raise ModelError(
                f"truncate_dim must be within 1..{self.embed_dim}, the numbers of an embedding of {self.name}, got "
                f"{truncate_dim}"
            )
        return None if truncate_dim == self.embed_dim else truncate_dim

    @property
    def activation(self) -> Activation:
        """What `quick_gelu` says, as a name."""
        return Activation.QUICK_GELU if self.quick_gelu else Activation.GELU

    @property
    def architecture(self) -> dict[str, JSON]:
        """Open_clip's description of the model, with `mean` and `std` beside it where they are not CLIP's.

        A tokenizer in a folder is called by its content: where it lies says nothing on another machine.
        """
        always = {"embed_dim": self.embed_dim, "quick_gelu": self.quick_gelu}
        towers = {name: _tower_table(getattr(self, name)) for name in ("vision_cfg", "text_cfg")}
        # What is as in CLIP is left out, as in open_clip's files.
        others = {name: getattr(self, name) for name in _OPTIONAL if getattr(self, name) != _DEFAULTS[name]}
        lists = {name: list(value) if isinstance(value, tuple) else value for name, value in others.items()}
        return {**always, **towers, **lists}

    @classmethod
    def from_architecture(cls, name: str, architecture: object, where: str) -> Self:
        """Read open_clip's description of a model.

        Args:
            name: what to call it.
            architecture: a table as `architecture` gives it.
            where: where it was found, for messages: "model ViT-B-16".

        Raises:
            ValueError: an architecture that is not supported, an unknown or missing key, or a value of the wrong type.
        """
        table = as_table(architecture, where)
        required = {"embed_dim", "vision_cfg", "text_cfg"}
        check_keys(table, required | {"quick_gelu", *_OPTIONAL}, required, where)
        embed_dim, quick_gelu = _value(table, "embed_dim", int, where), _value(table, "quick_gelu", bool, where)
        return cls(
            name=name,
            embed_dim=embed_dim,
            vision_cfg=_vision(table["vision_cfg"], f"vision_cfg of {where}"),
            text_cfg=_text(table["text_cfg"], f"text_cfg of {where}"),
            quick_gelu=quick_gelu,
            custom_text=_value(table, "custom_text", bool, where),
            multimodal_cfg=_multimodal(table, where),
            init_logit_bias=_bias(table, where),
            mean=_colours(table, "mean", where),
            std=_colours(table, "std", where),
        )

    @classmethod
    def from_name_or_file(cls, model: str) -> Self:
        """Find a model by open_clip's name ("ViT-B-16-quickgelu"), in a JSON file, a folder or a repository.

        The file is one of open_clip's model files, or the `open_clip_config.json` that lies beside published weights. A
        folder or a repository (`encoders.repositories`) has such a file. A tokenizer in the same folder is the model's.

        Raises:
            ValueError: an unknown name (close ones are listed), a file that is not JSON, or an architecture that is not
                supported.
        """
        # Before files and folders: what lies in the working folder never changes what a name means.
        if model in open_clip.list_models():
            config = cls.from_architecture(model, open_clip.get_model_config(model), f"model {model}")
            mean, std = _published_colours(model)
            return replace(config, mean=mean, std=std)
        repository = Repository.of(model)
        path = Path(model) if repository is None else repository.description()
        if not path.is_file():
            close = difflib.get_close_matches(model, open_clip.list_models(), n=4, cutoff=0.5)
            hint = f"did you mean {', '.join(close)}?" if close else "names look like ViT-B-16-quickgelu"
            raise ModelError(f"unknown model {model!r}: it is neither a model of open_clip nor a file; {hint}")
        name = path.stem if repository is None else repository.model_name
        config = cls.from_architecture(name, _flat(as_table(read_json(path), str(path)), str(path)), str(path))
        beside = None if repository is None else repository.tokenizer_folder
        return config.with_tokenizer_of(beside or path.parent, is_its=beside is not None)

    @property
    def tokenizer_name(self) -> str | None:
        """Of a tokenizer of Hugging Face: on its hub, or a folder; None: the model has CLIP's."""
        name = self.text_cfg.settings.get("hf_tokenizer_name") if isinstance(self.text_cfg, DescribedTower) else None
        return name if isinstance(name, str) else None

    @property
    def tokenizer_folder(self) -> Path | None:
        """Where the model's tokenizer lies, if that is a folder of this machine."""
        return self.text_cfg.tokenizer_folder if isinstance(self.text_cfg, DescribedTower) else None

    def with_tokenizer_of(self, folder: Path, *, is_its: bool) -> Self:
        """The same model, whose tokenizer is a folder, and maybe what describes its text tower.

        Args:
            folder: where the model is described.
            is_its: whether the tokenizer lies in it; else it may lie in a folder beside, which the description names.
        """
        text, name = self.text_cfg, self.tokenizer_name
        if not isinstance(text, DescribedTower) or name is None:
            return self
        text = text.beside(folder)
        if is_its and folder.is_dir():
            # The absolute path, by which `tokenizer_folder` tells a folder from a name on the hub.
            text = DescribedTower({**text.settings, "hf_tokenizer_name": str(folder.absolute())})
        return replace(self, text_cfg=text)


BY_CONTENT = "sha256:"
"""How the name of a tokenizer begins that lies in a folder."""
_OPTIONAL = ("custom_text", "multimodal_cfg", "init_logit_bias", "mean", "std")
"""Keys that a description has only where they are not as in CLIP."""
_DEFAULTS = {field.name: field.default for field in fields(ModelConfig)}


def supported_models() -> list[ModelConfig]:
    """All of open_clip's models that can take an alpha channel, in its order."""
    return [ModelConfig.from_name_or_file(name) for name in open_clip.list_models() if not why_refused(name)]


def why_refused(name: str) -> str:
    """Why one of open_clip's models cannot take an alpha channel here; an empty text if it can."""
    try:
        ModelConfig.from_name_or_file(name)
    except ModelError as error:
        return str(error)
    return ""


def _tower_table(tower: VisionTower | TextTower | DescribedTower) -> Mapping[str, JSON]:
    if not isinstance(tower, DescribedTower):
        return asdict(tower)
    folder = tower.tokenizer_folder
    if folder is None:
        return tower.settings
    return {**tower.settings, "hf_tokenizer_name": f"{BY_CONTENT}{files_digest(tokenizer_files(folder))}"}


def _vision(description: object, where: str) -> VisionTower | DescribedTower:
    """A plain ViT if it is described by a ViT's sizes alone."""
    table = as_table(description, where)
    # A ResNet has the keys of a ViT, and a list of layers.
    if _is_described_by(table, VisionTower) and not isinstance(table.get("layers"), list):
        return read_table(VisionTower, table, where)
    return DescribedTower.vision(table, where)


def _text(description: object, where: str) -> TextTower | DescribedTower:
    table = as_table(description, where)
    if _is_described_by(table, TextTower):
        return read_table(TextTower, table, where)
    # Here, before anything is downloaded for a model that cannot be built.
    if "hf_model_name" in table and (lacking := why_no_transformers()):
        raise ModelError(
            f"{where}: text towers from Hugging Face need the package transformers ({INSTALL_TRANSFORMERS}), "
            f"which cannot be imported: {lacking}"
        )
    return DescribedTower.text(table, where)


def _is_described_by(table: Mapping[str, object], kind: type[VisionTower] | type[TextTower]) -> bool:
    return set(table) <= {field.name for field in fields(kind)}


_Kind = TypeVar("_Kind", bound=int)


def _value(table: Mapping[str, object], key: str, kind: type[_Kind], where: str) -> _Kind:
    # Only what may be left out gets 0 or false here: `embed_dim` is required.
    value = table.get(key, kind())
    if not isinstance(value, kind) or type(value) is not kind:  # true and false are no numbers
        raise ModelError(
            f"{key!r} in {where} must be {'true or false' if kind is bool else 'a whole number'}, got {value!r}"
        )
    return value


def _bias(table: Mapping[str, object], where: str) -> float | None:
    value = table.get("init_logit_bias")
    # `not abs(value) < 1e6`, and not `>=`: it is true of NaN, which Python reads from JSON, as well.
    if value is not None and (not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < 1e6):
        raise ModelError(f"'init_logit_bias' in {where} must be a number, got {value!r}")
    return None if value is None else float(value)


def _multimodal(table: Mapping[str, object], where: str) -> Mapping[str, JSON] | None:
    if "multimodal_cfg" not in table:
        return None
    found: Mapping[str, JSON] = as_table(table["multimodal_cfg"], f"multimodal_cfg of {where}")  # type: ignore[assignment]
    return found


def _colours(table: Mapping[str, object], key: str, where: str) -> Colours:
    if key not in table:
        return CLIP_MEAN if key == "mean" else CLIP_STD
    value = table[key]
    if not isinstance(value, list) or not all(isinstance(one, int | float) for one in value):
        raise ModelError(f"{key!r} in {where} must be three numbers, for R, G and B, got {value!r}")
    return tuple(map(float, value))  # type: ignore[return-value]  # the configuration checks that there are three


def _flat(table: Mapping[str, object], where: str) -> Mapping[str, object]:
    """A model file as it is; of an `open_clip_config.json`, its model with the mean and deviation beside it."""
    if "model_cfg" not in table:
        return table
    pixels = as_table(table.get("preprocess_cfg", {}), f"preprocess_cfg of {where}")
    model = as_table(table["model_cfg"], f"model_cfg of {where}")
    return {**model, **{key: pixels[key] for key in ("mean", "std") if key in pixels}}


@cache
def _published_colours(model: str) -> tuple[Colours, Colours]:
    """Mean and deviation that all published weights of a model of open_clip expect; CLIP's where they differ."""
    tags = (open_clip.get_pretrained_cfg(model, tag) for tag in open_clip.list_pretrained_tags_by_model(model))
    # A tag is not known yet here. `expected_by` takes that of the tag once it is.
    found = {(tuple(one.get("mean", CLIP_MEAN)), tuple(one.get("std", CLIP_STD))) for one in tags}
    return found.pop() if len(found) == 1 else (CLIP_MEAN, CLIP_STD)


def _weights_of_a_block(tower: VisionTower | TextTower) -> int:
    """Numbers in the weights of one residual attention block of open_clip."""
    width, hidden = tower.width, int(tower.width * tower.mlp_ratio)
    scales = 0 if tower.ls_init_value is None else 2 * width
    # Matrices: queries, keys, values and output; the MLP's two. Then 9 vectors of the width: 4 biases of the former, 1
    # of the MLP's second, and 2 of each norm.
    return 4 * width**2 + 2 * width * hidden + 9 * width + hidden + scales


def _check_sizes(values: object, where: str, names: tuple[str, ...]) -> None:
    for name in names:
        check_size(where, name, getattr(values, name))
