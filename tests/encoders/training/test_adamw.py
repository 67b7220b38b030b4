import pytest
import torch
from torch import nn

from encoders.training.adamw import AdamW
from encoders.training.parameters import ParameterGroup


@pytest.mark.parametrize("fused", [True, None])
def test_steps_are_those_of_torchs_optimiser_to_the_bit_and_go_on_so(fused: bool | None) -> None:
    def parameters() -> list[nn.Parameter]:
        generator = torch.Generator().manual_seed(0)
        return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((5, 7), (9,))]

    def groups(matrix: nn.Parameter, vector: nn.Parameter) -> list[ParameterGroup]:
        return [ParameterGroup(("matrix",), [matrix], 1e-2, 0.2), ParameterGroup(("vector",), [vector], 1e-3, 0.0)]

    (mine, resumed, theirs), betas, eps = (parameters() for _ in range(3)), (0.9, 0.98), 1e-6
    optimizer = AdamW(groups(*mine), betas, eps, fused)
    settings = [{"params": list(one.parameters), "weight_decay": one.weight_decay} for one in groups(*theirs)]
    reference = torch.optim.AdamW(settings, betas=betas, eps=eps, fused=fused)
    for number in range(8):
        if number == 4:
            state = {name: tensor.clone() for name, tensor in optimizer.state().items()}
            for one, other in zip(resumed, mine, strict=True):
                one.data.copy_(other.data)
            other_optimizer = AdamW(groups(*resumed), betas, eps, fused)
            other_optimizer.load_state(state, 4)
        for place, group in enumerate(reference.param_groups):
            gradient = torch.randn(theirs[place].shape, generator=torch.Generator().manual_seed(100 * number + place))
            mine[place].grad = resumed[place].grad = theirs[place].grad = gradient
            group["lr"] = (1e-2, 1e-3)[place] * (1 - number / 9)
        optimizer.step(1 - number / 9)
        reference.step()
        if number >= 4:
            other_optimizer.step(1 - number / 9)
    assert all(torch.equal(one, other) for one, other in zip(mine, theirs, strict=True))
    assert all(torch.equal(one, other) for one, other in zip(resumed, theirs, strict=True))
