"""What is said of a measured precision, and what is decided by it, are one number."""

from __future__ import annotations

import pytest

from pipeline.features.precision import Measured, is_worth_it
from pipeline.run.events import Event, Message, Reporter


@pytest.mark.parametrize(
    ("cosine", "speedup", "expected"), [(0.9999, 1.2, True), (0.9999, 1.19, False), (0.99, 3.0, False)]
)
def test_what_is_asked_of_bf16(cosine: float, speedup: float, expected: bool) -> None:
    heard: list[Event] = []
    measured = Measured(cosine, speedup, 4)
    assert is_worth_it(measured, Reporter(heard.append)) is expected
    assert f"{speedup:.2f}x its speed" in str(measured)
    refusals = [event.text for event in heard if isinstance(event, Message)]
    assert len(refusals) == (0 if expected else 1)
