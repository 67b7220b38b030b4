"""Weights by name: open_clip's pretrained tags."""

from __future__ import annotations

import difflib
import importlib
import inspect
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.utils import tqdm  # type: ignore[attr-defined]

from encoders.config import CLIP_MEAN, CLIP_STD, ModelConfig
from encoders.errors import ModelError, WeightsMismatchError, WeightsMissingError
from encoders.hub import quiet_hub
from encoders.repositories import ON_HUB, Repository
from encoders.torchvision_shim import import_open_clip
from encoders.weights.files import TellBytes, ignore_bytes
from encoders.weights.fit import sibling_name

open_clip = import_open_clip()

_log = logging.getLogger(__name__)


def is_tag(config: ModelConfig, pretrained: str) -> bool:
    """Whether open_clip knows weights of this name for this model."""
    return pretrained in open_clip.list_pretrained_tags_by_model(config.name)


def expected_by(config: ModelConfig, pretrained: str) -> ModelConfig:
    """The model with the mean and deviation of pixels that a tag's weights were trained with."""
    if not is_tag(config, pretrained):
        return config
    description = open_clip.get_pretrained_cfg(config.name, pretrained)
    return replace(config, mean=description.get("mean", CLIP_MEAN), std=description.get("std", CLIP_STD))


def unknown_pretrained(config: ModelConfig, pretrained: str) -> WeightsMissingError:
    """Make the error for a name that is neither a tag nor a file; it lists the tags."""
    tags = open_clip.list_pretrained_tags_by_model(config.name)
    if not tags:
        elsewhere = open_clip.list_pretrained_models_by_tag(pretrained)
        hint = f"there are no tags for {config.name}; give a file, or 'none' for random weights"
        if elsewhere:
            hint += f" ({pretrained!r} is a tag of {', '.join(elsewhere[:8])})"
    else:
        close = difflib.get_close_matches(pretrained, tags, n=3) or tags
        hint = f"tags of {config.name}: {', '.join(close[:10])}; or give a file, or 'none' for random weights"
        other = sibling_name(config)
        if other and pretrained in open_clip.list_pretrained_tags_by_model(other):
            hint = f"it is a tag of {other}: use that model name"
    return WeightsMissingError(f"no weights {pretrained!r} for {config.name}: no such file and no such tag; {hint}")


def download_weights(config: ModelConfig, tag: str, tell: TellBytes = ignore_bytes) -> Path:
    """Download a tag's weights into the cache of their hub, unless they are cached.

    Args:
        config: the model.
        tag: of its weights.
        tell: hears how far the download is.

    Raises:
        WeightsMismatchError: the tag was trained with the other activation.
        WeightsMissingError: the download failed.
    """
    description = open_clip.get_pretrained_cfg(config.name, tag)
    needs_quick_gelu = bool(description.get("quick_gelu", False))
    if needs_quick_gelu != config.quick_gelu:
        raise WeightsMismatchError(
            f"the weights {tag!r} were trained {'with' if needs_quick_gelu else 'without'} QuickGELU, "
            f"{config.name} runs {'with' if config.quick_gelu else 'without'} it: "
            f"use {sibling_name(config) or 'another model'}"
        )
    where = description.get("hf_hub") or description.get("url") or "its file"
    # A warning, which is shown by default: it may take minutes, and as long to fail.
    level = logging.INFO if is_cached(description) else logging.WARNING
    what = "checking" if level == logging.INFO else "downloading"
    _log.log(level, "%s the weights %r of %s: %s", what, tag, config.name, where)
    try:
        with _told(tell), quiet_hub():
            return Path(open_clip.download_pretrained(description))
    except (OSError, RuntimeError) as error:
        raise WeightsMissingError(
            f"could not download the weights {tag!r} of {config.name}: {str(error).rstrip('.')}. Without a network, "
            f"download {_files_of(description)} elsewhere, and give the file as --pretrained"
        ) from error


def _files_of(description: Mapping[str, object]) -> str:
    """Where a tag's weights are, in words.

    >>> _files_of({"hf_hub": "timm/ViT-B-16-SigLIP2/"})
    'open_clip_model.safetensors or open_clip_pytorch_model.bin of https://huggingface.co/timm/ViT-B-16-SigLIP2'
    """
    hub, url = str(description.get("hf_hub") or ""), str(description.get("url") or "")
    if not hub:
        return url
    repository, _, name = hub.rpartition("/")
    return f"{name or ' or '.join(ON_HUB)} of https://huggingface.co/{repository}"


def own_weights(model: str, tell: TellBytes = ignore_bytes) -> Path:
    """The weights that lie beside the description of a model, in its folder or its repository.

    Args:
        model: the folder or the repository.
        tell: hears how far a download is.

    Raises:
        ModelError: it is neither.
        WeightsMissingError: there are none, or they cannot be downloaded.
    """
    repository = Repository.of(model)
    if repository is None:
        raise ModelError(f"no weights are given for {model!r}: give a tag, a file, or 'none' for random weights")
    if repository.folder is None and not repository.has_cached_weights:
        _log.warning("downloading the weights of %s", model)
    takes_bar = "tqdm_class" in inspect.signature(hf_hub_download).parameters
    return repository.weights({"tqdm_class": _bar(tell)} if takes_bar and tell is not ignore_bytes else {})


def _bar(tell: TellBytes) -> type[tqdm]:
    """A bar for the hub's client that draws nothing, and tells how far it is."""

    class Told(tqdm):
        """A bar that draws nothing."""

        def __init__(self, *arguments: Any, **options: Any) -> None:
            self.num_bytes, self.num_read = options.get("total") or 0, options.get("initial") or 0
            super().__init__(*arguments, **{**options, "disable": True})  # type: ignore[no-untyped-call]

        def update(self, n: float | None = 1) -> None:
            self.num_read += n or 0
            tell(int(self.num_read), int(max(self.num_bytes, self.num_read)))

    return Told


@contextmanager
def _told(tell: TellBytes) -> Iterator[None]:
    """Let the hub's client tell how far a download is: its own bar says nothing in a log, and is another beside ours.

    open_clip hands nothing on to the client, and older clients take no bar: then theirs is shown.
    """
    module = importlib.import_module("open_clip.pretrained")
    download = getattr(module, "hf_hub_download", None)
    if tell is ignore_bytes or download is None or "tqdm_class" not in inspect.signature(download).parameters:
        yield
        return

    module.hf_hub_download = partial(download, tqdm_class=_bar(tell))  # type: ignore[attr-defined]
    try:
        yield
    finally:
        module.hf_hub_download = download  # type: ignore[attr-defined]


def is_cached(description: Mapping[str, object]) -> bool:
    """Whether a tag's weights are cached on this machine, under one of the names that open_clip asks its hub for."""
    hub, url = str(description.get("hf_hub") or ""), str(description.get("url") or "")
    if not hub:
        return "file" in description or (Path.home() / ".cache/clip" / Path(url).name).is_file()
    repository, _, name = hub.rpartition("/")
    name = name or ON_HUB[1]
    # open_clip asks for safetensors first where a tag names no file, or a pickle.
    names = (name, ON_HUB[0], Path(name).with_suffix(".safetensors").name)
    return any(isinstance(try_to_load_from_cache(repository, name), str) for name in names)
