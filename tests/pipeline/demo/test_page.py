"""The page of the demo, from results made by hand."""

from __future__ import annotations

from pipeline.demo.page import demo_section
from pipeline.experiments.findings import QUICK
from pipeline.reporting.page import Page
from pipeline.run.events import EvaluationDone
from pipeline.training.checkpoint import TrainingHistory
from tests.demo_results import demo_result
from tests.html_pages import ParsedPage


def test_the_page_of_the_demo_shows_its_training() -> None:
    evaluations = (
        EvaluationDone(1, 1, 2, 9, 2.5, 30.0, 30.0, True),
        EvaluationDone(2, 2, 2, 18, 1.5, 40.0, 40.0, True),
    )
    history = TrainingHistory(evaluations, 2, 2, 40.0, 8, 2, 0, "split 'val'", chosen_on_test=False)
    section = demo_section(demo_result(["a"], {"masks": history}), ["", "R@1"], [["b", "1"]])
    page = ParsedPage(Page("demo", "store", (section,), "fda").html())
    page.check()
    assert page.tags.count("svg") == 1
    assert "epoch 2 1.500 40.0" in page.text
    assert QUICK not in page.text
