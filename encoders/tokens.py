"""Texts as the tokens of a model."""

from __future__ import annotations

import copy
import functools
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor

from encoders.config import ModelConfig
from encoders.described import DescribedTower
from encoders.errors import ModelError, first_line
from encoders.hub import quiet_hub
from encoders.torchvision_shim import INSTALL_TRANSFORMERS, import_open_clip

open_clip = import_open_clip()


_NAME_OF_SPECIAL = re.compile(r"<(?=(?:start|end)_of_text>)")
"""Where a text, cleaned and in small letters, contains the name of a special token."""


class Vocabulary(Protocol):
    """How texts become tokens."""

    pad: int
    """What stands after the last token."""

    def tokens(self, texts: Sequence[str], most: int) -> list[tuple[list[int], int]]:
        """Of each text: at most so many tokens, with those that begin and end it; and how many did not fit."""


class _Clean(Protocol):
    sot_token_id: int
    eot_token_id: int
    clean_fn: Callable[[str], str]

    def encode(self, text: str) -> list[int]: ...


class ClipVocabulary:
    """CLIP's byte pairs, which come with open_clip: start and end tokens always fit, a text that is too long is cut."""

    pad = 0

    def tokens(self, texts: Sequence[str], most: int) -> list[tuple[list[int], int]]:
        """See `Vocabulary`."""
        vocabulary, found = _byte_pairs(), []
        for text in texts:
            pairs = vocabulary.encode(text)
            # Two places are for the start and the end.
            kept = pairs[: most - 2]
            found.append(([vocabulary.sot_token_id, *kept, vocabulary.eot_token_id], len(pairs) - len(kept)))
        return found


CLIP_VOCABULARY = ClipVocabulary()


@functools.cache
def _byte_pairs() -> _Clean:
    """CLIP's byte-pair vocabulary: a copy of the one that open_clip reads, in a tenth of a second, when it is imported.

    open_clip puts a special token where a text contains its name, and the model reads the embedding at the first end
    token: a caption with `<end_of_text>` in it would end there. A blank after the bracket makes it a text like others,
    and changes nothing else: the vocabulary parts a bracket from the letters after it anyway.
    """
    # A copy: open_clip's own stays as it is for other code.
    vocabulary: _Clean = copy.copy(open_clip.tokenizer._tokenizer)
    clean = vocabulary.clean_fn
    vocabulary.clean_fn = lambda text: _NAME_OF_SPECIAL.sub("< ", clean(text))
    return vocabulary


class HuggingFaceVocabulary:
    """A tokenizer in Hugging Face's format, cleaned and ended as open_clip's `HFTokenizer` does it."""

    def __init__(self, name: str, settings: dict[str, Any]) -> None:
        """Load it from a folder, from the cache of the hub, or from the hub.

        Args:
            name: a folder, or a name on the hub.
            settings: `tokenizer_kwargs` and `tokenizer_mode` of open_clip's model file.

        Raises:
            ModelError: transformers is not installed, or there is no such tokenizer.
        """
        self._name = name
        try:
            with quiet_hub():
                self._tokenizer = open_clip.tokenizer.HFTokenizer(name, **settings)
        except ImportError as error:
            raise ModelError(
                f"the tokenizer {name!r} needs the package transformers ({INSTALL_TRANSFORMERS}), which "
                f"cannot be imported: {first_line(error)}"
            ) from error
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"cannot load the tokenizer {name!r}: {first_line(error)}. Without a network, put tokenizer.json and "
                f"tokenizer_config.json of https://huggingface.co/{name} into a folder, and name that as "
                "hf_tokenizer_name in the model's file"
            ) from error
        pad = self._tokenizer.tokenizer.pad_token_id
        if pad is None:
            raise ModelError(f"the tokenizer {name!r} has no padding token, without which no text has a fixed length")
        self.pad = int(pad)

    def tokens(self, texts: Sequence[str], most: int) -> list[tuple[list[int], int]]:
        """See `Vocabulary`."""
        if not texts:
            return []
        found = []
        for text, row in zip(texts, self._tokenizer(list(texts), context_length=most), strict=True):
            # Of tokenizers that end a text by their padding, all but its end.
            own = torch.nonzero(row != self.pad)[:, 0]
            kept = row[: int(own[-1]) + 1].tolist() if len(own) else []
            # Only a text that may have been cut is tokenized once more. `most - 1`, as `kept` lacks the end where that
            # is padding.
            found.append((kept, 0 if len(kept) < most - 1 else max(0, self._count(text) - most)))
        return found

    def _count(self, text: str) -> int:
        """Tokens of a text, however long."""
        return len(self._tokenizer.tokenizer(self._tokenizer.clean_fn(text)).input_ids)


@functools.cache
def _vocabulary(name: str, settings: str) -> HuggingFaceVocabulary:
    return HuggingFaceVocabulary(name, json.loads(settings))


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """Texts as a model takes them."""

    tokens: Tensor
    """int64, shape (num_texts, columns): the tokens of each text, then padding."""
    num_tokens: Tensor
    """int64, shape (num_texts,): tokens of each text, those that begin and end it included."""
    num_dropped: Tensor
    """int64, shape (num_texts,): tokens of each text that did not fit, the last ones."""
    looks_at_padding: bool = False
    """Whether the model looks at what follows the end of a text, so that all columns must be there."""

    @property
    def num_needed(self) -> Tensor:
        """Columns that the model must see of each text: int64, shape (num_texts,)."""
        return torch.full_like(self.num_tokens, self.tokens.shape[1]) if self.looks_at_padding else self.num_tokens


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """A model's tokenizer at one length; of CLIP, start and end tokens always fit, a text that is too long is cut.

    >>> Tokenizer(context_length=5)(["a dog", "a dog runs over there"]).tokens.tolist()
    [[49406, 320, 1929, 49407, 0], [49406, 320, 1929, 5586, 49407]]
    """

    context_length: int
    """Tokens that a text may have."""
    vocabulary: Vocabulary = CLIP_VOCABULARY
    padded_length: int | None = None
    """Columns that are there whatever the length of a text, for a model that looks at the padding; None: it does not,
    and there are `context_length`."""

    @classmethod
    def of(cls, config: ModelConfig, max_words: int | None = None) -> Self:
        """The tokenizer of a model.

        Args:
            config: the model's.
            max_words: tokens of a text that are read; None: as many as the model can.

        Raises:
            ModelError: the model reads fewer, or its tokenizer cannot be loaded.
        """
        length, text = config.text_length(max_words), config.text_cfg
        if not isinstance(text, DescribedTower):
            return cls(length)
        padded = None if config.is_causal else config.context_length
        name = text.settings.get("hf_tokenizer_name")
        if not isinstance(name, str):
            return cls(length, padded_length=padded)
        given = text.settings.get("tokenizer_kwargs") or {}
        mode = {"tokenizer_mode": text.settings["tokenizer_mode"]} if "tokenizer_mode" in text.settings else {}
        assert isinstance(given, dict)
        return cls(length, _vocabulary(name, json.dumps({**given, **mode}, sort_keys=True)), padded)

    def distinguished(self, texts: Sequence[str]) -> list[bytes]:
        """What a model can tell of each text: equal for texts that it cannot tell apart.

        >>> one, two, three = Tokenizer(5).distinguished(["A dog runs", "a  dog runs away", "a cat"])
        >>> one == two, one == three
        (True, False)
        """
        tokenized = self(texts)
        rows = zip(tokenized.tokens.to(torch.int32), tokenized.num_tokens.tolist(), strict=True)
        return [row[:count].numpy().tobytes() for row, count in rows]

    def __call__(self, texts: Sequence[str]) -> TokenizedTexts:
        """Tokenize any number of texts, also none.

        Raises:
            ValueError: a single text instead of a sequence of texts.
        """
        if isinstance(texts, str):
            raise ValueError(f"texts must be a sequence of texts, got the single text {texts!r}: pass it in a list")
        columns = self.padded_length or self.context_length
        tokens = torch.full((len(texts), columns), self.vocabulary.pad, dtype=torch.int64)
        num_tokens, num_dropped = (torch.zeros(len(texts), dtype=torch.int64) for _ in range(2))
        for number, (found, dropped) in enumerate(self.vocabulary.tokens(texts, self.context_length)):
            tokens[number, : len(found)] = torch.tensor(found, dtype=torch.int64)
            num_tokens[number], num_dropped[number] = len(found), dropped
        return TokenizedTexts(tokens, num_tokens, num_dropped, self.padded_length is not None)
