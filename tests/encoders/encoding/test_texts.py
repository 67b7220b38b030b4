"""Equal texts have equal bits, whatever they are encoded with."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from encoders.encoding.encoder import Encoder
from encoders.encoding.texts import text_batches
from encoders.errors import DeviceMemoryError, ModelError
from encoders.model import AlphaClip
from encoders.options import Precision
from encoders.tokens import HuggingFaceVocabulary, TokenizedTexts
from store.remedies import install_extra
from tests.encoders_tiny import TINY, TINY_TEXT, tiny_model

WORDS: Final = ["a", "dog", "runs", "over", "the", "long", "grass", "while", "two", "men", "watch", "extraordinarily"]
TEXT: Final = "a man is riding"
"""What is looked at, among others."""


LONGER: Final = replace(TINY, text_cfg=replace(TINY_TEXT, context_length=32, width=32))


def _model() -> AlphaClip:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AlphaClip(LONGER).eval()


MODEL: Final = _model()


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    num_threads = torch.get_num_threads()
    yield
    torch.set_num_threads(num_threads)


@pytest.fixture(scope="module")
def alone() -> dict[Precision, NDArray[np.float32]]:
    """The text encoded by itself."""
    return {precision: Encoder(MODEL, precision=precision).encode_texts([TEXT]).text[0] for precision in Precision}


OTHERS: Final = st.lists(st.integers(1, 40).map(lambda count: " ".join((WORDS * 4)[:count])), max_size=20)


@settings(max_examples=20, deadline=None)
@given(others=OTHERS, place=st.integers(0, 20), precision=st.sampled_from(Precision), num_threads=st.integers(1, 3))
def test_a_text_has_the_same_bits_in_any_company(
    alone: dict[Precision, NDArray[np.float32]],
    others: list[str],
    place: int,
    precision: Precision,
    num_threads: int,
) -> None:
    texts = [*others[:place], TEXT, *others[place:], f" {TEXT.upper()} "]
    torch.set_num_threads(num_threads)
    found = Encoder(MODEL, precision=precision).encode_texts(texts).text
    assert torch.get_num_threads() == num_threads
    for row in (min(place, len(others)), -1):  # the last has the same tokens
        np.testing.assert_array_equal(found[row], alone[precision])


def test_texts_that_are_cut_to_the_same_tokens_have_the_same_bits() -> None:
    found = Encoder(MODEL).encode_texts(["many words " * 20, "a dog", "many words " * 16 + "and others"])
    assert found.num_dropped.tolist() == [10, 0, 4]
    np.testing.assert_array_equal(found.text[0], found.text[2])


def test_no_more_is_read_than_asked() -> None:
    texts = ["a dog runs home", "a dog eats", "a dog"]
    found = Encoder(MODEL, max_words=4).encode_texts(texts)
    assert found.num_dropped.tolist() == [2, 1, 0]
    np.testing.assert_array_equal(found.text, np.repeat(found.text[2:], 3, axis=0))
    with pytest.raises(ValueError, match="max_words must be at most 32, which tiny reads, got 33"):
        Encoder(MODEL, max_words=33)


@given(
    lengths=st.lists(st.integers(2, 20), max_size=60), size=st.integers(1, 9), context_length=st.sampled_from([20, 24])
)
def test_batches_are_full_and_each_text_is_in_one(lengths: list[int], size: int, context_length: int) -> None:
    tokens = torch.zeros((len(lengths), context_length), dtype=torch.int64)
    for row, length in enumerate(lengths):
        tokens[row, :length] = torch.arange(1, length + 1)
    batches = list(
        text_batches(
            TokenizedTexts(
                tokens, torch.tensor(lengths, dtype=torch.int64), torch.zeros(len(lengths), dtype=torch.int64)
            ),
            size,
        )
    )
    assert sorted(row for batch in batches for row in batch.rows.tolist()) == list(range(len(lengths)))
    for batch in batches:
        assert batch.tokens.shape in [(size, 8), (size, 16), (size, context_length)]
        assert torch.equal(batch.tokens[: len(batch.rows)], tokens[batch.rows, : batch.tokens.shape[1]])


def test_memory_that_runs_out_is_reported_and_other_errors_are_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = Encoder(tiny_model())
    for message, error in (("DefaultCPUAllocator: can't allocate memory", DeviceMemoryError), ("other", RuntimeError)):

        def fail(tokens: torch.Tensor, message: str = message) -> torch.Tensor:
            raise RuntimeError(message)

        monkeypatch.setattr(encoder._towers, "encode_tokens", fail)
        with pytest.raises(error, match=r"cpu has too little memory for 16 texts|other"):
            encoder.encode_texts(["a dog"])


@pytest.mark.parametrize("reason", ["No module named 'transformers'", "tokenizers>=0.22 is required, found 0.23"])
def test_a_tokenizer_whose_package_cannot_be_imported_says_why(monkeypatch: pytest.MonkeyPatch, reason: str) -> None:
    def broken(name: str, **settings: object) -> None:
        raise ImportError(f"{reason}\nmore")

    monkeypatch.setattr("open_clip.tokenizer.HFTokenizer", broken)
    with pytest.raises(ModelError) as caught:
        HuggingFaceVocabulary("somewhere/siglip", {})
    assert str(caught.value).endswith(f"({install_extra('transformers')}), which cannot be imported: {reason}")
