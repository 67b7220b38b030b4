"""Modules made without the random weights that they begin with, to be filled from a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch.overrides import TorchFunctionMode

_DRAWS = {"erfinv_", "kaiming_normal_", "kaiming_uniform_", "normal_", "trunc_normal_", "uniform_"}
"""Of `torch.nn.init` and of tensors; `erfinv_` is what makes a truncated normal distribution of a uniform one."""


class WithoutDraws(TorchFunctionMode):
    """While it is entered, random weights keep what was in memory: draws take up to a third of the time of a load.

    What is made by `torch.randn` and the like is drawn as ever: these are small.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a function of torch, unless it draws into a tensor."""
        named = kwargs or {}
        if getattr(func, "__name__", "") in _DRAWS:
            return args[0] if args else named["tensor"]
        return func(*args, **named)
