import math

import pytest
import torch

from encoders.torchvision_shim import import_open_clip
from encoders.training.losses import sigmoid_loss, symmetric_cross_entropy
from tests.encoders_tiny import assert_close

SigLipLoss = import_open_clip().loss.SigLipLoss


def test_loss_by_hand() -> None:
    # Rows: log(1 + e^-2) and log(1 + e^1). Columns: log(1 + e^0) and log(1 + e^-1).
    logits = torch.tensor([[2.0, 0.0], [2.0, 1.0]])
    rows = (math.log(1 + math.exp(-2)) + math.log(1 + math.exp(1))) / 2
    columns = (math.log(2) + math.log(1 + math.exp(-1))) / 2
    assert symmetric_cross_entropy(logits).item() == pytest.approx((rows + columns) / 2)
    assert symmetric_cross_entropy(torch.eye(3) * 100).item() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shape", [(2, 3), (2,)])
def test_loss_needs_a_square_matrix(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="square"):
        symmetric_cross_entropy(torch.zeros(shape))


def test_texts_of_one_video_are_no_negatives_of_each_other() -> None:
    logits = torch.tensor([[5.0, 5.0, 0.0], [5.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    labels = torch.tensor([4, 4, 1])
    # By hand: rows 0 and 1 have two truths of one half each.
    row = -(math.log(math.exp(5) / (2 * math.exp(5) + 1)))
    last = -math.log(math.exp(5) / (math.exp(5) + 2))
    assert symmetric_cross_entropy(logits, labels).item() == pytest.approx((2 * row + last) / 3, rel=1e-6)
    assert symmetric_cross_entropy(logits, torch.arange(3)).item() == pytest.approx(
        symmetric_cross_entropy(logits).item(), rel=1e-6
    )


def test_smoothed_labels_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0], [0.0, 2.0]])
    right, wrong = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    assert symmetric_cross_entropy(logits, label_smoothing=0.2).item() == pytest.approx(0.9 * right + 0.1 * wrong)


def test_the_sigmoid_loss_is_open_clips() -> None:
    torch.manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 8), dim=-1) for _ in range(2))
    scale, bias = torch.tensor(10.0), torch.tensor(-3.0)
    expected = SigLipLoss()(images, texts, scale, bias)
    assert_close(sigmoid_loss(scale * texts @ images.T + bias), expected)


def test_the_sigmoid_loss_by_hand_where_two_pairs_are_of_one_video() -> None:
    logits = torch.full((3, 3), 2.0)
    true, false = math.log(1 + math.exp(-2)), math.log(1 + math.exp(2))
    found = sigmoid_loss(logits, torch.tensor([4, 4, 1])).item()
    assert found == pytest.approx((5 * true + 4 * false) / 3)  # five of the nine belong together
