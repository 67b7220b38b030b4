import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from encoders.errors import DivergedError, TrainMemoryError, WeightsFormatError
from encoders.model import AlphaClip
from encoders.training.options import Schedule, TrainOptions
from encoders.training.parameters import parameter_groups
from encoders.training.state import load_state, save_state
from encoders.training.trainer import MAX_LOGIT_SCALE, NORM_PART, TrainBatch, Trainer, norm_of
from tests.encoders_tiny import ALPHA_WEIGHT, TINY, assert_close, random_clips, tiny_model

FAST = TrainOptions(lr=3e-3, alpha_lr=1e-2, weight_decay=0.0, warmup=0.0)
TEXTS = ["a cat", "a dog", "two birds", "the sea"]


def fresh_model() -> AlphaClip:
    torch.manual_seed(0)
    return AlphaClip(TINY)


def copies(model: AlphaClip) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.named_tensors().items()}


def same_frames_other_masks() -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Four clips that only their masks tell apart: each shows another quarter of one image."""
    frames, _ = random_clips(1, 2)
    masks = np.zeros((4, 2, 32, 32), dtype=bool)
    for index in range(4):
        top, left = 16 * (index // 2), 16 * (index % 2)
        masks[index, :, top : top + 16, left : left + 16] = True
    return np.repeat(frames, 4, axis=0), masks


@pytest.mark.parametrize("schedule", list(Schedule))
def test_steps_have_the_rate_of_their_schedule(schedule: Schedule) -> None:
    trainer = Trainer(fresh_model(), TrainOptions(lr=1e-3, warmup=0.5, schedule=str(schedule)), num_steps=4)
    rates = [trainer.step(TrainBatch(*random_clips(2, 1), TEXTS[:2])).lr for _ in range(4)]
    expected = {
        Schedule.COSINE: [0.5e-3, 1e-3, 1e-3, 0.5e-3],
        Schedule.CLIP4CLIP: [0.0, 0.5e-3, 0.5e-3, 0.146447e-3],
        Schedule.TRANSFORMERS: [0.0, 0.5e-3, 1e-3, 0.5e-3],  # transformers 4.x, get_cosine_schedule_with_warmup(2, 4)
    }[schedule]
    assert rates == pytest.approx(expected, rel=1e-5)


def test_training_reads_as_many_tokens_as_asked() -> None:
    """Two texts that differ after that are one."""
    texts = ["a dog runs home", "a dog eats", "two birds", "the sea"]
    cut = ["a dog", "a dog", "two birds", "the sea"]
    losses = [
        Trainer(fresh_model(), TrainOptions(max_words=4), 1).step(TrainBatch(*random_clips(4, 1), some)).loss
        for some in (texts, cut)
    ]
    assert losses[0] == losses[1]
    whole = Trainer(fresh_model(), TrainOptions(), 1).step(TrainBatch(*random_clips(4, 1), texts)).loss
    assert whole != losses[0]
    with pytest.raises(ValueError, match="max_words must be at most 10, which tiny reads, got 11"):
        Trainer(fresh_model(), TrainOptions(max_words=11), 1)


def test_every_parameter_is_in_one_group() -> None:
    model = tiny_model()
    options = TrainOptions(lr=1e-6, alpha_lr=1e-4, weight_decay=0.2)
    matrices, vectors, alpha = parameter_groups(model, options)
    assert [group.lr for group in (matrices, vectors, alpha)] == [1e-6, 1e-6, 1e-4]
    assert [group.weight_decay for group in (matrices, vectors, alpha)] == [0.2, 0.0, 0.2]
    grouped = [id(one) for group in (matrices, vectors, alpha) for one in group.parameters]
    assert sorted(grouped) == sorted(id(one) for one in model.parameters())
    assert [tuple(one.shape) for one in alpha.parameters] == [(32, 1, 16, 16)]
    assert any(one is model.logit_scale for one in vectors.parameters)


def test_masks_alone_are_learned_from() -> None:
    # From a zero alpha convolution, where all four clips look the same: no better than chance, log(4).
    model = fresh_model()
    trainer = Trainer(model, FAST, num_steps=40)
    frames, masks = same_frames_other_masks()
    losses = [trainer.step(TrainBatch(frames, masks, TEXTS)).loss for _ in range(40)]
    assert losses[0] > math.log(4) - 1e-4
    assert losses[-1] < math.log(4) / 2
    assert model.named_tensors()[ALPHA_WEIGHT].abs().max() > 1e-3


def test_each_group_moves_at_its_rate() -> None:
    # Adam's first step moves each weight by about its rate, whatever the gradient.
    model = fresh_model()
    before = copies(model)
    result = Trainer(model, TrainOptions(lr=1e-5, alpha_lr=1e-3, warmup=0.0, weight_decay=0.0, eps=1e-12), 1).step(
        TrainBatch(*random_clips(4, 2), TEXTS)
    )
    moved = {name: (tensor - before[name]).abs().max().item() for name, tensor in model.named_tensors().items()}
    assert result.lr == 1e-5
    assert moved[ALPHA_WEIGHT] == pytest.approx(1e-3, rel=0.01)
    assert moved["visual.conv1.weight"] == pytest.approx(1e-5, rel=0.01)


def test_weight_decay_spares_vectors() -> None:
    model = tiny_model()
    before = copies(model)
    Trainer(model, TrainOptions(lr=1e-2, alpha_lr=0, warmup=0, weight_decay=10, eps=1e9), 1).step(
        TrainBatch(*random_clips(2, 1), TEXTS[:2])
    )
    after = model.named_tensors()
    assert_close(after["visual.proj"], before["visual.proj"] * 0.9)
    assert_close(after["visual.ln_post.weight"], before["visual.ln_post.weight"])
    assert_close(after["logit_scale"], before["logit_scale"])


def test_weight_decay_takes_in_vectors_where_that_is_asked_for() -> None:
    model = tiny_model()
    before = copies(model)
    Trainer(
        model, TrainOptions(lr=1e-2, alpha_lr=1e-2, warmup=0, weight_decay=10, decay_vectors=True, eps=1e9), 1
    ).step(TrainBatch(*random_clips(2, 1), TEXTS[:2]))
    for name, tensor in model.named_tensors().items():
        assert_close(tensor, (before[name] * 0.9).clamp(max=math.log(100) if name == "logit_scale" else 1e9))


def test_results_say_what_the_step_used() -> None:
    model = fresh_model()
    trainer = Trainer(model, TrainOptions(lr=1e-3, warmup=0.5), num_steps=4)
    results = [trainer.step(TrainBatch(*random_clips(2, 1), TEXTS[:2])) for _ in range(4)]
    assert [result.lr for result in results] == pytest.approx([0.5e-3, 1e-3, 1e-3, 0.5e-3])
    assert results[0].logit_scale == pytest.approx(1 / 0.07)
    assert all(result.grad_norm > 0 for result in results)


def test_the_logit_scale_is_clamped() -> None:
    model = fresh_model()
    with torch.no_grad():
        model.logit_scale.fill_(MAX_LOGIT_SCALE)
    trainer = Trainer(model, FAST, num_steps=15)
    scales = [trainer.step(TrainBatch(*random_clips(2, 1), TEXTS[:2])).logit_scale for _ in range(15)]
    assert max(scales) <= 100.001
    assert model.logit_scale.item() <= MAX_LOGIT_SCALE + 1e-6


def test_the_gradient_is_clipped() -> None:
    model = fresh_model()
    norm = (
        Trainer(model, TrainOptions(grad_clip=1e-3), num_steps=1).step(TrainBatch(*random_clips(4, 1), TEXTS)).grad_norm
    )
    gradients = [one.grad for one in model.parameters() if one.grad is not None]
    assert norm > 1e-3
    assert torch.nn.utils.get_total_norm(gradients).item() == pytest.approx(1e-3, rel=1e-3)


@pytest.mark.parametrize("num_weights", [1, 3, NORM_PART, NORM_PART + 1, 2 * NORM_PART + 5])
def test_the_norm_is_that_of_float64(num_weights: int) -> None:
    gradient = torch.linspace(0.5, 1.5, num_weights)
    assert norm_of(gradient) == pytest.approx(math.sqrt((gradient.double() ** 2).sum().item()), rel=1e-12)


def test_the_norm_of_a_step_is_that_of_float64() -> None:
    """It is logged, and decides how much is clipped. It is that of the summed gradient, so processes change nothing."""
    model = fresh_model()
    step = Trainer(model, TrainOptions(grad_clip=1e9), num_steps=1).step(TrainBatch(*random_clips(4, 1), TEXTS))
    squares = sum((one.grad.double() ** 2).sum().item() for one in model.parameters() if one.grad is not None)
    assert step.grad_norm == pytest.approx(math.sqrt(squares), rel=1e-12)


def test_the_same_seed_gives_the_same_bits() -> None:
    def trained() -> dict[str, Tensor]:
        torch.manual_seed(11)
        model = AlphaClip(TINY)
        trainer = Trainer(model, FAST, num_steps=3)
        for step in range(3):
            trainer.step(TrainBatch(*random_clips(4, 2, seed=step), TEXTS))
        return copies(model)

    one, two = trained(), trained()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_divergence_is_found_before_the_weights_change(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = fresh_model()
    trainer = Trainer(model, FAST, num_steps=2)
    trainer.step(TrainBatch(*random_clips(2, 1), TEXTS[:2]))
    if where == "loss":
        monkeypatch.setattr(
            "encoders.training.trainer.symmetric_cross_entropy", lambda logits, *_: logits.sum() * math.nan
        )
    else:
        model.clip.visual.proj.register_hook(lambda gradient: gradient * math.inf)
    before = copies(model)
    with pytest.raises(DivergedError, match=r"at step 2 of 2.*Lower lr \(0\.003\)") as caught:
        trainer.step(TrainBatch(*random_clips(2, 1), TEXTS[:2]))
    assert isinstance(caught.value, ArithmeticError)
    assert all(torch.equal(before[name], tensor) for name, tensor in model.named_tensors().items())


def test_batches_that_do_not_fit_are_refused() -> None:
    trainer = Trainer(fresh_model(), FAST, num_steps=1)
    with pytest.raises(ValueError, match="1 texts and 2 clips"):
        trainer.step(TrainBatch(*random_clips(2, 1), TEXTS[:1]))
    with pytest.raises(ValueError, match="0 texts and 0 clips"):
        trainer.step(TrainBatch(*random_clips(0, 1), []))
    with pytest.raises(ValueError, match="--image-size 32"):
        trainer.step(TrainBatch(*random_clips(2, 1, size=16), TEXTS[:2]))
    trainer.step(TrainBatch(*random_clips(2, 1), TEXTS[:2]))
    with pytest.raises(ValueError, match="all 1 steps"):
        trainer.step(TrainBatch(*random_clips(2, 1), TEXTS[:2]))


def test_padding_changes_neither_loss_nor_gradient() -> None:
    frames, alpha = random_clips(4, 3)
    is_frame = np.array([[True] * 3, [True, False, False], [True, True, False], [True] * 3])
    results = []
    for filler in (0, 255):
        frames[~is_frame] = filler
        model = fresh_model()
        results.append(
            (Trainer(model, FAST, num_steps=1).step(TrainBatch(frames, alpha, TEXTS, is_frame)), copies(model))
        )
    (first, weights), (second, other_weights) = results
    assert first == second
    assert all(torch.equal(weights[name], tensor) for name, tensor in other_weights.items())
    assert Trainer(fresh_model(), FAST, num_steps=1).step(TrainBatch(frames, alpha, TEXTS)).loss != first.loss


def batch_of(num_pairs: int, seed: int = 0) -> TrainBatch:
    return TrainBatch(
        *random_clips(num_pairs, 2, seed=seed), [f"thing {number} of {seed}" for number in range(num_pairs)]
    )


def test_a_run_goes_on_from_a_file_to_the_same_bits(tmp_path: Path) -> None:
    whole = Trainer(fresh_model(), FAST, num_steps=6)
    results = [whole.step(batch_of(3, seed)) for seed in range(6)]
    for num_done in range(6):
        first = Trainer(fresh_model(), FAST, num_steps=6)
        for seed in range(num_done):
            first.step(batch_of(3, seed))
        save_state(tmp_path / "state", first, "a note")
        second = Trainer(tiny_model(seed=9), FAST, num_steps=6)
        assert load_state(tmp_path / "state", second) == "a note"
        assert second.num_done == num_done
        assert [second.step(batch_of(3, seed)) for seed in range(num_done, 6)] == results[num_done:]
        found, expected = second.state(), whole.state()
        assert set(found) == set(expected)
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())


def test_a_state_that_is_damaged_or_anothers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    save_state(path, Trainer(fresh_model(), FAST, num_steps=2), "")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsFormatError, match="is damaged, so training cannot resume.*--overwrite"):
        load_state(path, Trainer(fresh_model(), FAST, num_steps=2))


@pytest.mark.parametrize("accumulate", [2, 3, 5])
@pytest.mark.parametrize("labels", [None, np.array([0, 1, 1, 2, 0])])
def test_parts_of_a_step_give_the_gradient_of_the_whole(accumulate: int, labels: NDArray[np.int64] | None) -> None:
    # GradCache: the loss is over all pairs, however few are taken through the model at once.
    batch = replace(batch_of(5), labels=labels)
    models = fresh_model(), fresh_model()
    whole = Trainer(models[0], FAST, 1).step(batch)
    parts = Trainer(models[1], replace(FAST, accumulate=accumulate), 1).step(batch)
    assert parts.loss == pytest.approx(whole.loss, rel=1e-6)
    assert parts.grad_norm == pytest.approx(whole.grad_norm, rel=1e-4)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert_close(one.grad, other.grad, rtol=1e-3, atol=1e-6)


def test_checkpointed_activations_give_the_same_gradient() -> None:
    models = fresh_model(), fresh_model()
    first = Trainer(models[0], FAST, 1).step(batch_of(4))
    second = Trainer(models[1], replace(FAST, grad_checkpointing=True), 1).step(batch_of(4))
    assert second.grad_norm == pytest.approx(first.grad_norm, rel=1e-5)


def test_autocast_trains_float32_weights() -> None:
    model = fresh_model()
    exact = Trainer(fresh_model(), FAST, 1).step(batch_of(4))
    near = Trainer(model, replace(FAST, precision="bf16"), 1).step(batch_of(4))
    assert {one.dtype for one in model.parameters()} == {torch.float32}
    assert near.loss != exact.loss
    assert near.loss == pytest.approx(exact.loss, rel=0.02)


def moved_by(options: TrainOptions) -> dict[str, float]:
    """Name -> how far Adam's first step moves a weight: its rate, whatever the gradient."""
    model = tiny_model()
    before = copies(model)
    settings = replace(options, warmup=0.0, weight_decay=0.0, eps=1e-12)
    Trainer(model, settings, 1).step(batch_of(4))
    return {name: (tensor - before[name]).abs().max().item() for name, tensor in model.named_tensors().items()}


def test_frozen_layers_stay_and_the_alpha_convolution_never_does() -> None:
    moved = moved_by(TrainOptions(lr=1e-3, alpha_lr=1e-2, freeze_layers=1))
    still = {name for name, distance in moved.items() if distance == 0}
    embeddings = {
        "visual.conv1.weight",
        "visual.class_embedding",
        "visual.positional_embedding",
        "positional_embedding",
    }
    norms = {"visual.ln_pre.weight", "visual.ln_pre.bias", "token_embedding.weight"}
    blocks = {
        name for name in moved if name.startswith(("visual.transformer.resblocks.0.", "transformer.resblocks.0."))
    }
    assert still == embeddings | norms | blocks
    assert moved[ALPHA_WEIGHT] == pytest.approx(1e-2, rel=0.01)
    assert moved["visual.transformer.resblocks.1.mlp.c_fc.weight"] == pytest.approx(1e-3, rel=0.01)


def test_what_has_no_rate_does_not_count_in_the_gradients_norm() -> None:
    """As the alpha convolution of the preset `clip4clip`: it would take up most of what clipping allows."""
    options = TrainOptions(lr=1e-4, alpha_lr=0.0)
    model = fresh_model()
    names = {name for group in parameter_groups(model, options) for name in group.names}
    assert "clip.visual.conv1.alpha.weight" not in names
    with pytest.raises(ValueError, match="nothing is trained"):
        Trainer(fresh_model(), TrainOptions(lr=0.0, alpha_lr=0.0), 1)
    frames, masks = random_clips(3, 2)
    norms = []
    for rate in (0.0, 1e-4):
        trainer = Trainer(fresh_model(), replace(options, alpha_lr=rate), 1)
        norms.append(trainer.step(TrainBatch(frames, masks, ["a", "b", "c"])).grad_norm)
    assert norms[0] < norms[1]


def test_a_step_that_does_not_fit_says_how_it_would(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = Trainer(fresh_model(), TrainOptions(), 1)
    frames, masks = random_clips(3, 2)

    def fail(*args: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(trainer, "_backward", fail)
    with pytest.raises(TrainMemoryError, match=r"a step of 3 pairs .*--set accumulate=2"):
        trainer.step(TrainBatch(frames, masks, ["a", "b", "c"]))


def test_a_frozen_text_tower_and_temperature_stay() -> None:
    moved = moved_by(TrainOptions(lr=1e-3, alpha_lr=1e-3, freeze_text=True, freeze_logit_scale=True))
    assert {name for name, distance in moved.items() if distance == 0} == {
        name for name in moved if not name.startswith("visual.")
    }


def test_rates_fall_from_block_to_block_and_the_text_tower_has_its_own() -> None:
    moved = moved_by(TrainOptions(lr=1e-2, text_lr=1e-3, alpha_lr=5e-3, layer_decay=0.5))
    expected = {
        "visual.proj": 1e-2,
        "visual.transformer.resblocks.1.mlp.c_fc.weight": 5e-3,
        "visual.transformer.resblocks.0.mlp.c_fc.weight": 2.5e-3,
        "visual.conv1.weight": 1.25e-3,
        "text_projection": 1e-3,
        "transformer.resblocks.0.mlp.c_fc.weight": 5e-4,
        "logit_scale": 1e-3,
        ALPHA_WEIGHT: 5e-3,
    }
    assert {name: moved[name] for name in expected} == pytest.approx(expected, rel=0.02)


def test_trainers_that_cannot_work_are_refused() -> None:
    with pytest.raises(ValueError, match=r"num_steps.*0"):
        Trainer(fresh_model(), FAST, num_steps=0)
    with pytest.raises(ValueError, match=r"float32.*torch\.float16"):
        Trainer(fresh_model().half(), FAST, num_steps=1)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"epochs": 0}, r"epochs must be within 1\.\.10,000, got 0"),
        ({"batch_size": 1}, "batch_size must be 2 or more, got 1"),
        ({"lr": -1.0}, "lr must be 0 or more, got -1.0"),
        ({"lr": math.nan}, "lr must be 0 or more, got nan"),
        ({"beta2": 1}, "beta2 must be 0 or more and below 1, got 1"),
        ({"warmup": 1.5}, r"warmup must be within 0\.\.1, got 1.5"),
        ({"grad_clip": 0.0}, "grad_clip must be above 0, got 0.0"),
        ({"epochs": 2.5}, "'epochs' in the training options must be a whole number, got 2.5"),
        ({"lr": "1e-6"}, "'lr' in the training options must be a whole number or a number, got '1e-6'"),
        ({"epochs": True}, "'epochs'.*got True"),
        ({"learning_rate": 1e-3}, "unknown keys: learning_rate; it may have accumulate, alpha_lr"),
    ],
)
def test_bad_options_are_named(values: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TrainOptions.from_dict(values)
