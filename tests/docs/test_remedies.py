"""What is said about installing: `fda` is on no index, where a stranger's package may have its name."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from encoders.torchvision_shim import INSTALL_TRANSFORMERS
from store.remedies import install_extra
from tests.docs.pages import PAGES
from tests.paths import ROOT

FROM_AN_INDEX = re.compile(r"\bfda\[|pip3? install( -\S+)* ['\"]?fda\b(?!')")
EXTRA = re.compile(r"['\"]?\.\[(\w+)\]|install_extra\(['\"](\w+)['\"]\)|the extra `(\w+)`")


def texts() -> Iterator[Path]:
    yield from (*PAGES, ROOT / "CHANGELOG.md", ROOT / "docs/notebook.ipynb", ROOT / "Makefile", ROOT / "fda.py")
    for package in ("cli", "encoders", "pipeline", "store", "tests"):
        yield from (path for path in (ROOT / package).rglob("*.*") if path.suffix in (".py", ".toml", ".html", ".txt"))


def test_nobody_is_told_to_install_fda_from_an_index() -> None:
    lines = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in texts()
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1)
        if FROM_AN_INDEX.search(line)
    ]
    assert lines == []


def test_the_extras_that_are_named_exist() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    found = EXTRA.findall("\n".join(path.read_text(encoding="utf-8") for path in texts() if "tests" not in path.parts))
    assert {"s3", "usearch", "transformers"} <= {name for names in found for name in names if name}
    assert {name for names in found for name in names if name} <= project["optional-dependencies"].keys()


def test_there_is_one_remedy() -> None:
    assert install_extra("transformers") == INSTALL_TRANSFORMERS


@pytest.mark.parametrize("text", ["pip install {}", "pip install -U '{}[s3]'", "needs {}[s3]"])
def test_what_is_forbidden_is_found(text: str) -> None:
    assert FROM_AN_INDEX.search(text.format("fda"))
