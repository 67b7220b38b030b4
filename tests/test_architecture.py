"""The import graph: `cli -> pipeline -> {encoders, store}`, torch in `encoders` alone, and a quick `fda --help`."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.paths import ROOT

MAY_IMPORT = {
    "store": {"store"},
    "encoders": {"encoders"},
    "pipeline": {"pipeline", "encoders", "store"},
    "cli": {"cli", "pipeline", "encoders", "store"},
}
"""Package -> the packages of this project that it may import. `cli` also builds models and opens stores."""
MODEL_LIBRARIES = {"torch", "torchvision", "open_clip", "safetensors", "timm"}
FILES = sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py"))


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports, anywhere in it; a relative import is given with its dots."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_there_is_something_to_look_at() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(MAY_IMPORT)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_what_its_package_may(path: Path) -> None:
    package = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        top = name.split(".")[0]
        assert top, f"{name}: imports are absolute"
        assert top != "tests"
        assert top not in MAY_IMPORT or top in MAY_IMPORT[package]
        assert top not in MODEL_LIBRARIES or package == "encoders", f"{name} belongs to encoders/"


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["preprocess", "--help"], ["preprocess", "nowhere.jsonl", "store"], ["--version"]],
    ids=" ".join,
)
def test_commands_that_need_no_model_load_no_torch(arguments: list[str]) -> None:
    program = (
        "import sys; sys.argv[0] = 'fda'\n"
        "from cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"loaded = {MODEL_LIBRARIES!r} & set(sys.modules)\n"
        "sys.exit(f'loaded: {loaded}' if loaded else 0)"
    )
    command = [sys.executable, "-W", "error", "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_importing_does_no_work() -> None:
    """No package writes, prints or starts anything when it is imported."""
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in FILES
        if path.name != "__init__.py" and "encoders" not in path.parts
    ]
    program = "import threading\n" + "\n".join(f"import {name}" for name in names) + "\n"
    program += "assert threading.active_count() == 1, threading.enumerate()"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
