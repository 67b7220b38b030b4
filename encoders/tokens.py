"""Texts as CLIP's tokens."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from encoders.torchvision_shim import import_open_clip

open_clip = import_open_clip()


_NAME_OF_SPECIAL = re.compile(r"<(?=(?:start|end)_of_text>)")
"""Where a text, cleaned and in small letters, contains the name of a special token."""


class _BytePairs(Protocol):
    sot_token_id: int
    eot_token_id: int
    clean_fn: Callable[[str], str]

    def encode(self, text: str) -> list[int]: ...


@functools.cache
def _byte_pairs() -> _BytePairs:
    """CLIP's byte-pair vocabulary: a quarter of a second to read, so once a process.

    open_clip puts a special token where a text contains its name, and the model reads the embedding at the first end
    token: a caption with `<end_of_text>` in it would end there. A blank after the bracket makes it a text like others,
    and changes nothing else: the vocabulary parts a bracket from the letters after it anyway.
    """
    vocabulary: _BytePairs = open_clip.SimpleTokenizer()
    clean = vocabulary.clean_fn
    vocabulary.clean_fn = lambda text: _NAME_OF_SPECIAL.sub("< ", clean(text))
    return vocabulary


@dataclass(frozen=True, slots=True)
class TokenizedTexts:
    """Texts as a model takes them."""

    tokens: Tensor
    """int64, shape (num_texts, context_length): start, byte pairs, end, then zeros."""
    num_dropped: Tensor
    """int64, shape (num_texts,): byte pairs of each text that did not fit, the last ones."""

    @property
    def num_tokens(self) -> Tensor:
        """Tokens of each text, start and end included: int64, shape (num_texts,)."""
        return self.tokens.argmax(dim=-1) + 1  # the end token has the highest id


@dataclass(frozen=True, slots=True)
class Tokenizer:
    """CLIP's tokenizer at one context length: start and end tokens always fit, a text that is too long is cut.

    >>> Tokenizer(context_length=5)(["a dog", "a dog runs over there"]).tokens.tolist()
    [[49406, 320, 1929, 49407, 0], [49406, 320, 1929, 5586, 49407]]
    """

    context_length: int

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
        vocabulary = _byte_pairs()
        tokens = torch.zeros((len(texts), self.context_length), dtype=torch.int64)
        num_dropped = torch.zeros(len(texts), dtype=torch.int64)
        for number, text in enumerate(texts):
            pairs = vocabulary.encode(text)
            kept = pairs[: self.context_length - 2]
            num_dropped[number] = len(pairs) - len(kept)
            with_ends = [vocabulary.sot_token_id, *kept, vocabulary.eot_token_id]
            tokens[number, : len(with_ends)] = torch.tensor(with_ends)
        return TokenizedTexts(tokens, num_dropped)
