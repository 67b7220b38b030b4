"""Models that come with their weights, as open_clip publishes them: beside a description, and maybe a tokenizer.

They lie in a folder (`local-dir:FOLDER`, or its path alone), or in a repository of the Hugging Face hub
(`hf-hub:ORG/NAME`), of which the files that are cached are taken without asking the hub.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from huggingface_hub import hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    HfHubHTTPError,
    HFValidationError,
    LocalEntryNotFoundError,
)
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

from encoders.errors import ModelError, WeightsMissingError, first_line
from encoders.hub import quiet_hub
from encoders.options import HUB, LOCAL, OPEN_CLIP_CONFIG, is_whole_model

WEIGHTS = (
    "open_clip_model.safetensors",
    "open_clip_pytorch_model.safetensors",
    "open_clip_pytorch_model.bin",
    "open_clip_pytorch_model.pth",
    "model.safetensors",
    "pytorch_model.bin",
)
"""Files of weights, in the order in which open_clip prefers them."""
ON_HUB = (WEIGHTS[0], WEIGHTS[2])
"""As which a repository of the hub has its weights."""
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json")
_BESIDE_TOKENIZER = (
    *("added_tokens.json", "config.json", "merges.txt", "sentencepiece.bpe.model", "special_tokens_map.json"),
    *("spiece.model", "tokenizer.model", "vocab.json", "vocab.txt"),
)
"""What else transformers reads of a tokenizer, each where it is there."""
_OF_WEIGHTS = (".safetensors", ".bin", ".pth", ".pt")


def tokenizer_files(folder: Path) -> list[Path]:
    """The files of the tokenizer that lies in a folder."""
    return [folder / name for name in sorted((*_TOKENIZER, *_BESIDE_TOKENIZER)) if (folder / name).is_file()]


def files_digest(paths: Sequence[Path]) -> str:
    """The SHA-256 of the names and the content of some files, in hexadecimal."""
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        # With the length, so that no other names and contents make the same bytes.
        digest.update(f"{path.name} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


@dataclass(frozen=True, slots=True)
class Repository:
    """Where the files of one model lie."""

    name: str
    """As the user gives it."""
    folder: Path | None
    """None: on the hub."""
    hub_id: str = ""
    """`ORG/NAME` on the hub."""

    @classmethod
    def of(cls, model: str) -> Repository | None:
        """The folder or the repository that a model's name stands for; None if it is a name or file of another kind.

        Raises:
            ModelError: there is no such folder, or the name cannot be one of the hub.
        """
        if not is_whole_model(model):
            return None
        if model.startswith(HUB):
            hub_id = model.removeprefix(HUB)
            if "@" in hub_id:
                name, _, revision = hub_id.partition("@")
                raise ModelError(
                    f"model {model!r} names the revision {revision!r}, and open_clip takes no revisions: download the "
                    f"files of that revision of https://huggingface.co/{name} into a folder, and give the folder"
                )
            try:
                validate_repo_id(hub_id)
            except HFValidationError as error:
                raise ModelError(f"model {model!r} is not of the form {HUB}ORG/NAME: {error}") from error
            if "/" not in hub_id:
                raise ModelError(f"model {model!r} is not of the form {HUB}ORG/NAME")
            return cls(model, None, hub_id)
        folder = Path(model.removeprefix(LOCAL))
        if model == LOCAL or not folder.is_dir():
            raise ModelError(f"model {model!r}: there is no folder {model.removeprefix(LOCAL)!r}")
        return cls(model, folder)

    @property
    def model_name(self) -> str:
        """What the model is called: the name on the hub, or that of the folder."""
        return self.name if self.folder is None else self.folder.resolve().name

    @property
    def tokenizer_folder(self) -> Path | None:
        """The folder, if a tokenizer lies in it."""
        folder = self.folder
        has_one = folder is not None and any((folder / name).is_file() for name in _TOKENIZER)
        return folder.absolute() if folder is not None and has_one else None

    def description(self) -> Path:
        """The file that describes the model.

        Raises:
            ModelError: it is not there, or cannot be had from the hub.
        """
        if self.folder is None:
            return self._from_hub((OPEN_CLIP_CONFIG,), ModelError)
        path = self.folder / OPEN_CLIP_CONFIG
        if not path.is_file():
            raise ModelError(
                f"{self.folder} has no {OPEN_CLIP_CONFIG}, which describes the model; a checkpoint of `fda finetune` "
                "is given as --checkpoint"
            )
        return path

    @property
    def has_cached_weights(self) -> bool:
        """Whether the hub need not be asked for them."""
        return any(isinstance(try_to_load_from_cache(self.hub_id, name), str) for name in ON_HUB)

    def weights(self, options: Mapping[str, Any] = MappingProxyType({})) -> Path:
        """The file of the weights.

        Args:
            options: of the hub's client, for a download.

        Raises:
            WeightsMissingError: there is none, there are several of unknown names, or the hub cannot be reached.
        """
        if self.folder is None:
            return self._from_hub(ON_HUB, WeightsMissingError, options)
        there = sorted(path.name for path in self.folder.iterdir() if path.suffix in _OF_WEIGHTS and path.is_file())
        found = next((name for name in WEIGHTS if name in there), None)
        if found is None and len(there) != 1:
            has = (
                f"several files of weights ({', '.join(there[:5])})" if there else f"no file of weights ({WEIGHTS[0]})"
            )
            raise WeightsMissingError(
                f"{self.folder} has {has}: give one as --pretrained, or `none` for random weights"
            )
        return self.folder / (found or there[0])

    def _from_hub(
        self,
        names: Sequence[str],
        kind: type[ModelError] | type[WeightsMissingError],
        options: Mapping[str, Any] = MappingProxyType({}),
    ) -> Path:
        """The first of some files that is cached, else the first that the hub has."""
        for name in names:
            cached = try_to_load_from_cache(self.hub_id, name)
            if isinstance(cached, str):
                return Path(cached)
        error: Exception | None = None
        for name in names:
            try:
                with quiet_hub():
                    return Path(hf_hub_download(self.hub_id, name, **options))
            except (EntryNotFoundError, HfHubHTTPError, OSError) as failed:
                error = failed
                # Only if the hub says that it has no such file may it have the next one. A hub that cannot be reached
                # is a LocalEntryNotFoundError; both are kinds of EntryNotFoundError and of OSError.
                if isinstance(failed, LocalEntryNotFoundError) or not isinstance(failed, EntryNotFoundError):
                    break
        assert error is not None
        raise kind(
            f"cannot get {' or '.join(names)} of {self.name}: {first_line(error)}. Without a network, put "
            f"{OPEN_CLIP_CONFIG}, {' or '.join(ON_HUB)} and, where there are any, {' and '.join(_TOKENIZER)} of "
            f"https://huggingface.co/{self.hub_id} into a folder, and give the folder as --model"
        ) from error
