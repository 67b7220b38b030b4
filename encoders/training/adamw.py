"""AdamW (Loshchilov and Hutter, 2019) without torch's compiler."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from encoders.training.parameters import ParameterGroup


class AdamW:
    """Steps by torch's own function: the same bits as from `torch.optim.AdamW`.

    Not that class, because it imports torch's compiler: two seconds of CPU in every process that trains, for nothing.
    """

    def __init__(
        self, groups: Sequence[ParameterGroup], betas: tuple[float, float], eps: float, fused: bool | None = None
    ) -> None:
        """Begin with moments of zero.

        Args:
            groups: What is trained; no parameter is in two of them.
            betas: How much of each moment is kept at a step.
            eps: Added to the root of the second moment.
            fused: As of `torch.optim.AdamW`.
        """
        self._groups, self._betas, self._eps, self._fused = groups, betas, eps, fused
        self._first, self._second = (
            {name: torch.zeros_like(one, requires_grad=False) for name, one in self._parameters()} for _ in range(2)
        )
        self._num_steps = {
            name: torch.zeros((), device=one.device if fused else "cpu")  # where torch expects it
            for name, one in self._parameters()
        }

    def step(self, factor: float) -> None:
        """Move all parameters along their gradients, at their group's rate times a factor."""
        with torch.no_grad():
            for group in self._groups:
                adamw(
                    # Parameters, gradients, first and second moments; no largest second moments, which only AMSGrad
                    # has; steps taken.
                    list(group.parameters),
                    [_gradient(one) for one in group.parameters],
                    [self._first[name] for name in group.names],
                    [self._second[name] for name in group.names],
                    [],
                    [self._num_steps[name] for name in group.names],
                    fused=self._fused,
                    amsgrad=False,
                    beta1=self._betas[0],
                    beta2=self._betas[1],
                    lr=group.lr * factor,
                    weight_decay=group.weight_decay,
                    eps=self._eps,
                    maximize=False,
                )

    def state(self) -> dict[str, Tensor]:
        """Both moments of each parameter, under names that `load_state` expects; they share memory with this."""
        first = {f"exp_avg/{name}": moment for name, moment in self._first.items()}
        return first | {f"exp_avg_sq/{name}": moment for name, moment in self._second.items()}

    def load_state(self, tensors: Mapping[str, Tensor], num_steps: int) -> None:
        """Go on after so many steps from what `state` gave.

        Raises:
            KeyError: A moment is missing.
        """
        for name, moment in self.state().items():
            moment.copy_(tensors[name])
        for steps in self._num_steps.values():
            steps.fill_(num_steps)

    def _parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        for group in self._groups:
            yield from zip(group.names, group.parameters, strict=True)


def _gradient(parameter: nn.Parameter) -> Tensor:
    assert parameter.grad is not None
    return parameter.grad
