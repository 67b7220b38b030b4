"""How the learning rate rises and falls."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoders.training.options import Schedule
from encoders.training.parameters import learning_rate_factor


@given(st.integers(1, 200), st.floats(0, 1))
def test_the_rate_rises_to_its_peak_and_falls(num_steps: int, warmup: float) -> None:
    factors = [learning_rate_factor(step, num_steps, warmup) for step in range(num_steps)]
    peak = int(np.argmax(factors))
    assert all(0 < factor <= 1 for factor in factors)
    assert max(factors) == 1
    assert factors[: peak + 1] == sorted(factors[: peak + 1])
    assert factors[peak:] == sorted(factors[peak:], reverse=True)


@pytest.mark.parametrize(
    ("warmup", "factors"),
    [
        (0.1, [0.0, 0.975528, 0.904508, 0.793893, 0.654508, 0.5, 0.345492, 0.206107, 0.095492, 0.024472]),
        (0.25, [0.0, 0.4, 0.8, 0.793893, 0.654508, 0.5, 0.345492, 0.206107, 0.095492, 0.024472]),
        (0.0, [1.0, 0.950484, 0.811745, 0.61126, 0.38874, 0.188255, 0.049516]),
    ],
)
def test_the_schedule_of_clip4clip(warmup: float, factors: list[float]) -> None:
    """The figures are of its own code: `warmup_cosine(step / num_steps, warmup)`, steps counted from 0."""
    found = [learning_rate_factor(step, len(factors), warmup, Schedule.CLIP4CLIP) for step in range(len(factors))]
    assert found == pytest.approx(factors, abs=1e-6)
