"""The contrastive and the sigmoid loss, also for batches with several pairs of one video."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name for it)
from torch import Tensor


def symmetric_cross_entropy(
    similarity_logits: Tensor, labels: Tensor | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """CLIP's loss: the cross-entropy of each row and each column against what belongs to it.

    >>> import math
    >>> round(symmetric_cross_entropy(torch.zeros(4, 4)).item() / math.log(4), 6)
    1.0

    If several pairs have one label, each of their texts belongs to each of their videos, in equal parts: none is a
    false negative (the supervised contrastive loss of Khosla et al. 2020, with the sum outside the logarithm).

    >>> round(symmetric_cross_entropy(torch.zeros(2, 2), torch.tensor([7, 7])).item() / math.log(2), 6)
    1.0

    Args:
        similarity_logits: scaled similarities, shape (n, n); row i and column i belong together.
        labels: shape (n,), int64: rows and columns of one label belong together too. Without labels, each pair is
            alone.
        label_smoothing: part of each target that is spread over all pairs, 0..1.

    Returns:
        A scalar: the mean of the cross-entropies over rows and over columns.

    Raises:
        ValueError: a matrix that is not square.
    """
    _require_square(similarity_logits)
    if labels is None:
        target = torch.arange(len(similarity_logits), device=similarity_logits.device)
    else:
        # (n, n): 1 where text and video belong together. Symmetric, so one target serves rows and columns.
        together = (labels[:, None] == labels[None, :]).to(similarity_logits.dtype)
        target = together / together.sum(dim=1, keepdim=True)
    rows = F.cross_entropy(similarity_logits, target, label_smoothing=label_smoothing)
    columns = F.cross_entropy(similarity_logits.T, target, label_smoothing=label_smoothing)
    return (rows + columns) / 2


def sigmoid_loss(similarity_logits: Tensor, labels: Tensor | None = None) -> Tensor:
    """SigLIP's loss: for each text and each video by itself, whether they belong together.

    >>> import math
    >>> round(sigmoid_loss(torch.zeros(4, 4)).item() / math.log(2), 6)  # of each row, four guesses at random
    4.0

    Source: Zhai et al. 2023 (arXiv 2303.15343), Algorithm 1; open_clip's `SigLipLoss` gives the same.

    Args:
        similarity_logits: scaled similarities plus the bias, shape (n, n); row i and column i belong together.
        labels: shape (n,), int64: rows and columns of one label belong together too. Without labels, each pair is
            alone.

    Returns:
        A scalar: the sum over all texts and videos, for each of n.

    Raises:
        ValueError: a matrix that is not square.
    """
    _require_square(similarity_logits)
    if labels is None:
        together = torch.eye(len(similarity_logits), dtype=torch.bool, device=similarity_logits.device)
    else:
        together = labels[:, None] == labels[None, :]
    # 1 where they belong together, else -1.
    signs = together.to(similarity_logits.dtype) * 2 - 1
    return -F.logsigmoid(signs * similarity_logits).sum() / len(similarity_logits)


def _require_square(similarity_logits: Tensor) -> None:
    if similarity_logits.ndim != 2 or similarity_logits.shape[0] != similarity_logits.shape[1]:
        raise ValueError(f"similarity_logits must be a square matrix, got shape {tuple(similarity_logits.shape)}")
