import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoders.encoding.encoder import Encoder
from encoders.options import Pooling, Precision
from tests.encoders_tiny import TINY, random_clips, reference_inputs, tiny_model

MODEL = tiny_model()


def test_clips_are_frames_averaged_to_unit_rows() -> None:
    frames, alpha = random_clips(3, 4)
    embeddings = Encoder(MODEL).encode_clips(frames, alpha)
    with torch.inference_mode():
        inputs = reference_inputs(frames.reshape(-1, 32, 32, 3), alpha.reshape(-1, 32, 32))
        expected = MODEL.encode_frames(*inputs).numpy().reshape(3, 4, 16)
    np.testing.assert_allclose(embeddings.frame, expected, atol=1e-5)
    mean = embeddings.frame.mean(axis=1)
    np.testing.assert_allclose(embeddings.video, mean / np.linalg.norm(mean, axis=1, keepdims=True), atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(embeddings.video, axis=1), 1, atol=1e-6)
    assert (embeddings.video.dtype.name, embeddings.frame.dtype.name) == ("float32", "float32")


@settings(max_examples=15, deadline=None)
@given(num_clips=st.integers(0, 4), num_frames=st.integers(1, 4), batch_frames=st.integers(1, 20))
def test_batches_do_not_change_embeddings(num_clips: int, num_frames: int, batch_frames: int) -> None:
    frames, alpha = random_clips(num_clips, num_frames)
    found = Encoder(MODEL, batch_frames=batch_frames).encode_clips(frames, alpha)
    assert found.video.shape == (num_clips, TINY.embed_dim)
    assert found.frame.shape == (num_clips, num_frames, TINY.embed_dim)
    for index in range(num_clips):
        one = slice(index, index + 1)
        alone = Encoder(MODEL).encode_clips(frames[one], alpha[one])
        np.testing.assert_allclose(found.video[one], alone.video, atol=1e-5)
        np.testing.assert_allclose(found.frame[one], alone.frame, atol=1e-5)


def test_a_clip_with_fewer_frames_has_the_embedding_of_those_alone() -> None:
    frames, alpha = random_clips(3, 4)
    is_frame = np.array([[True] * 4, [True, True, False, False], [True, False, False, False]])
    frames[~is_frame], alpha[~is_frame] = 0, False
    found = Encoder(MODEL).encode_clips(frames, alpha, is_frame)
    assert np.isnan(found.frame).all(axis=2).tolist() == (~is_frame).tolist()
    for index, count in enumerate(is_frame.sum(axis=1)):
        alone = Encoder(MODEL).encode_clips(frames[index : index + 1, :count], alpha[index : index + 1, :count])
        np.testing.assert_allclose(found.video[index], alone.video[0], atol=1e-6)
        np.testing.assert_allclose(found.frame[index, :count], alone.frame[0], atol=1e-5)
    with_padding = Encoder(MODEL).encode_clips(frames, alpha)
    assert (np.abs(found.video - with_padding.video).max(axis=1) > 1e-3).tolist() == [False, True, True]


def test_clips_without_a_frame_are_refused() -> None:
    frames, alpha = random_clips(2, 2)
    with pytest.raises(ValueError, match="clip 1 of 2 has no frame at all"):
        Encoder(MODEL).encode_clips(frames, alpha, np.array([[True, False], [False, False]]))
    with pytest.raises(ValueError, match=r"is_frame must be bool of shape \(2, 2\)"):
        Encoder(MODEL).encode_clips(frames, alpha, np.ones((2, 3), dtype=np.bool_))


def test_texts_are_unit_rows_and_truncation_is_counted() -> None:
    texts = ["a red star is moving", "", "many words " * 20]
    embeddings = Encoder(MODEL).encode_texts(texts)
    assert (embeddings.num_dropped > 0).sum() == 1
    assert embeddings.text.dtype.name == "float32"
    np.testing.assert_allclose(np.linalg.norm(embeddings.text, axis=1), 1, atol=1e-6)


def test_nothing_gives_nothing() -> None:
    embeddings = Encoder(MODEL).encode_texts([])
    assert (embeddings.text.shape, embeddings.num_dropped.shape) == ((0, TINY.embed_dim), (0,))
    assert Encoder(MODEL).encode_clips(*random_clips(0, 6)).video.shape == (0, TINY.embed_dim)


def test_encoding_needs_no_gradients_and_leaves_the_model_as_it_was() -> None:
    model = tiny_model().train()
    before = {name: tensor.clone() for name, tensor in model.named_tensors().items()}
    frames, alpha = random_clips(1, 2)
    Encoder(model).encode_clips(frames, alpha)
    assert model.training
    assert all(torch.equal(before[name], tensor) for name, tensor in model.named_tensors().items())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_frames_of_another_size_are_refused_with_the_way_out() -> None:
    with pytest.raises(ValueError, match=r"48 x 48.*the model takes 32 x 32.*--image-size 32"):
        Encoder(MODEL).encode_clips(*random_clips(1, 2, size=48))


def test_batches_without_frames_are_refused() -> None:
    with pytest.raises(ValueError, match=r"batch_frames.*0"):
        Encoder(MODEL, batch_frames=0)


def test_one_text_is_refused() -> None:
    with pytest.raises(ValueError, match="'a dog'"):
        Encoder(MODEL).encode_texts("a dog")


def test_broken_weights_are_found() -> None:
    model = tiny_model()
    with torch.no_grad():
        model.named_tensors()["visual.proj"][0, 0] = torch.nan
    with pytest.raises(ArithmeticError, match="not finite"):
        Encoder(model).encode_clips(*random_clips(1, 1))


def test_names_will_do_for_options_and_others_are_refused() -> None:
    """A text in place of an option must not be taken for something else in silence."""
    encoder = Encoder(tiny_model(), pooling="unit-mean", precision="bf16")  # type: ignore[arg-type]
    assert (encoder.pooling, encoder.precision) == (Pooling.UNIT_MEAN, Precision.BF16)
    with pytest.raises(ValueError, match="'foo' is not a valid Pooling"):
        Encoder(tiny_model(), pooling="foo")  # type: ignore[arg-type]
