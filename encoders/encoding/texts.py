"""Texts to features that depend on the tokens alone, to the bit, so that equal captions tie wherever they are encoded.

A product of matrices is rounded differently if the matrices have another shape, or if another number of threads shares
the work. So a text must meet the same shapes whatever texts it comes with: it is padded to a length that follows from
its own, in a batch that is always full, and one thread computes a batch. Neither the place of a text in its batch nor
its neighbours matter then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from encoders.devices import is_out_of_memory
from encoders.errors import DeviceMemoryError, first_line
from encoders.tokens import TokenizedTexts

BATCH_TEXTS_CPU, BATCH_TEXTS_GPU = 16, 64
"""Texts at once. More are no faster on a thread of a CPU; on a GPU the kernels of 64 take longer than to start them."""
LENGTH_STEP = 8
"""Texts are padded to a multiple of this many tokens. With 1, nothing is padded, but there are so many lengths that
filling up their last batches costs more."""


def num_texts_at_once(device: torch.device) -> int:
    """How many texts are encoded side by side: a batch, or one for each thread of a CPU."""
    return BATCH_TEXTS_GPU if device.type == "cuda" else BATCH_TEXTS_CPU * torch.get_num_threads()


@dataclass(frozen=True, slots=True)
class TextBatch:
    """Texts that go through the model at once."""

    rows: Tensor
    """int64, shape (num_texts,): which texts; fewer than the batch has places only where no more have its length."""
    tokens: Tensor
    """int64, shape (size of a batch, num_tokens); zeros where there is no text."""


def text_batches(tokenized: TokenizedTexts, size: int) -> Iterator[TextBatch]:
    """Batches of one shape for each padded length, the shortest first.

    >>> from encoders.tokens import Tokenizer
    >>> texts = Tokenizer(context_length=20)(["a dog", "a dog runs " * 3, "a cat"])
    >>> [(batch.rows.tolist(), tuple(batch.tokens.shape)) for batch in text_batches(texts, size=4)]
    [([0, 2], (4, 8)), ([1], (4, 16))]

    Args:
        tokenized: any number of texts.
        size: places in a batch.
    """
    context_length = tokenized.tokens.shape[1]
    # Rounded up.
    steps = -(-tokenized.num_needed // LENGTH_STEP)
    for step in sorted(set(steps.tolist())):
        length = min(step * LENGTH_STEP, context_length)
        for rows in torch.split(torch.nonzero(steps == step)[:, 0], size):
            tokens = torch.zeros((size, length), dtype=torch.int64)
            tokens[: len(rows)] = tokenized.tokens[rows, :length]
            yield TextBatch(rows, tokens)


def encode_distinct(
    tokenized: TokenizedTexts, encode: Callable[[Tensor], Tensor], embed_dim: int, device: torch.device
) -> Tensor:
    """Features of texts; those with the same tokens are computed once.

    Args:
        tokenized: any number of texts.
        encode: tokens of shape (size of a batch, num_tokens) on the device, to features of shape (size of a batch,
            embed_dim). Called from several threads.
        embed_dim: of the features.
        device: where they are computed.

    Returns:
        float32, shape (num_texts, embed_dim), on the CPU.

    Raises:
        MemoryError: a batch does not fit into the memory of the device. It is not made smaller as those of frames are:
            its texts would come out otherwise than in other runs.
    """
    # (num_texts, columns) -> (distinct, columns); `place_of`, shape (num_texts,), says which of them each text is.
    tokens, place_of = torch.unique(tokenized.tokens, dim=0, return_inverse=True)
    num_tokens = torch.zeros(len(tokens), dtype=torch.int64)
    # Texts of the same tokens write the same number.
    num_tokens[place_of] = tokenized.num_tokens
    distinct = replace(tokenized, tokens=tokens, num_tokens=num_tokens, num_dropped=torch.zeros_like(num_tokens))
    size = BATCH_TEXTS_GPU if device.type == "cuda" else BATCH_TEXTS_CPU
    batches = list(text_batches(distinct, size))

    def encoded(batch: TextBatch) -> Tensor:
        with torch.inference_mode():  # of this thread
            return encode(batch.tokens.to(device))[: len(batch.rows)]

    features = torch.empty((len(tokens), embed_dim))
    try:
        parts = [encoded(batch) for batch in batches] if device.type == "cuda" else _one_a_thread(encoded, batches)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise DeviceMemoryError(f"{device} has too little memory for {size} texts: {first_line(error)}") from error
    for batch, part in zip(batches, parts, strict=True):
        features[batch.rows] = part.cpu()  # here, where a GPU has been given all of its work
    return features[place_of]


def _one_a_thread(encode: Callable[[TextBatch], Tensor], batches: Sequence[TextBatch]) -> list[Tensor]:
    """Encode batches side by side, each in one thread from beginning to end."""
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        return [encode(batch) for batch in batches]
    try:
        with ThreadPoolExecutor(num_threads, "fda-texts", torch.set_num_threads, (1,)) as pool:
            return list(pool.map(encode, batches))
    finally:
        # torch keeps a number for each thread, and one for threads to come, which the pool's threads have changed.
        torch.set_num_threads(num_threads)
