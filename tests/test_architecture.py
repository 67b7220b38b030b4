"""Imports, `cli -> pipeline -> {encoders, store}`: no circle, torch in `encoders` alone; sizes; where tests are.

Each test lists every violation, one a line, so that one run is enough to fix them all.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from tests.paths import ROOT

MAY_IMPORT = {
    "store": {"store"},
    "encoders": {"encoders"},
    "pipeline": {"pipeline", "encoders", "store"},
    "fda": {"pipeline", "encoders", "store"},
    "cli": {"cli", "fda", "pipeline", "encoders", "store"},
}
"""Package (or module at the root) -> those of this project that it may import. `cli` also opens stores."""
PROGRAM = {*MAY_IMPORT, "tests"}
MODEL_LIBRARIES = {"torch", "torchvision", "open_clip", "safetensors", "timm"}

MAX_LINES = 400
MAX_PARAMETERS = 9
MANY_PARAMETERS = 6
MAX_SHARE_WITH_MANY = 0.02

FILES = [
    *sorted(path for package in MAY_IMPORT for path in (ROOT / package).rglob("*.py")),
    *(path for package in MAY_IMPORT if (path := ROOT / f"{package}.py").is_file()),
]
TEST_FILES = sorted((ROOT / "tests").rglob("*.py"))

MIRRORED = sorted(MAY_IMPORT.keys() - {"fda"})
MAX_MODULES_WITHOUT_TESTS = 2
"""A room of more modules has a folder of tests. `__init__` does not count."""
TESTED_ELSEWHERE = {
    "pipeline/reporting/sections": "parts of a page, of which tests/pipeline/reporting reads the whole",
    "pipeline/video/reading/containers": "reached through `file_extent` alone, whose tests are in the room above",
}
"""Rooms without a folder of tests, each with the reason."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def modules() -> Mapping[str, ast.Module]:
    """By name. Not parsed when this file is collected: each process that runs tests collects it, one runs its tests."""
    return {module_name(path): ast.parse(path.read_text(encoding="utf-8"), path) for path in FILES}


@functools.cache
def nodes_of(tree: ast.AST) -> list[ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef]:
    """What tests look at, in one walk for all of them."""
    kinds = ast.Import | ast.ImportFrom | ast.FunctionDef | ast.AsyncFunctionDef
    return [node for node in ast.walk(tree) if isinstance(node, kinds)]


Edge = tuple[int, str]
"""The line of an import, and the module it names."""


def imports_of(tree: ast.AST) -> Iterator[Edge]:
    """Every import of a file, also those in functions and under TYPE_CHECKING; a relative one keeps its dots.

    `from a import b` imports `a.b` if that is a module of this project, and `a` otherwise.
    """
    for node in nodes_of(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            names = [f"{source}.{alias.name}" for alias in node.names]
            yield from {(node.lineno, name if name in modules() else source) for name in names}


def circles(graph: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """The strongly connected components of more than one module (Tarjan).

    >>> circles({"a": ["b"], "b": ["c"], "c": ["b"], "d": ["d"]})
    [['b', 'c']]
    """
    index: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(module: str) -> None:
        index[module] = lowest[module] = len(index)
        stack.append(module)
        for other in graph.get(module, ()):
            if other not in index:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], index[other])
        if lowest[module] == index[module]:
            start = stack.index(module)
            component = sorted(stack[start:])
            del stack[start:]
            if len(component) > 1:
                found.append(component)

    for module in graph:
        if module not in index:
            visit(module)
    return found


def fails_with(violations: Sequence[str]) -> None:
    if violations:
        pytest.fail(f"{len(violations)} violations:\n" + "\n".join(violations), pytrace=False)


def test_every_package_is_looked_at() -> None:
    assert {name.split(".")[0] for name in modules()} >= MAY_IMPORT.keys() - {"fda"}


def test_files_import_only_what_their_package_may() -> None:
    violations = []
    for module, tree in modules().items():
        package = module.split(".")[0]
        for line, name in imports_of(tree):
            top = name.split(".")[0]
            if not top:
                violations.append(f"{module}:{line} imports {name}: imports are absolute")
            elif top in PROGRAM and top not in MAY_IMPORT[package]:
                violations.append(f"{module}:{line} imports {name}: {package} may not import {top}")
            elif top in MODEL_LIBRARIES and package != "encoders":
                violations.append(f"{module}:{line} imports {name}: it belongs to encoders/")
    fails_with(violations)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: [name for _, name in imports_of(tree) if name in modules()] for module, tree in modules().items()}
    assert graph["cli.main"]
    fails_with([" <-> ".join(circle) for circle in circles(graph)])


def room_of(module: str) -> str:
    """The folder in a package, or the package itself for a module beside its folders."""
    parts = module.split(".")
    return ".".join(parts[:2]) if (ROOT / parts[0]).joinpath(*parts[1:2]).is_dir() else parts[0]


def test_no_folders_import_each_other_in_a_circle() -> None:
    """Modules beside the folders of a package are not counted: some are its entrance, others are under all of them."""
    graph: dict[str, list[str]] = {}
    for module, tree in modules().items():
        room = room_of(module)
        others = {room_of(name) for _, name in imports_of(tree) if name in modules()}
        graph.setdefault(room, []).extend(one for one in others - {room} if "." in one and "." in room)
    assert graph["pipeline.reporting"]
    fails_with([" <-> ".join(circle) for circle in circles(graph)])


def test_files_are_short() -> None:
    for_browsers = [path for suffix in ("html", "css", "js") for path in (ROOT / "pipeline").rglob(f"*.{suffix}")]
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
    pages.remove(ROOT / "CHANGELOG.md")  # of all versions
    assert for_browsers
    files = [*FILES, *TEST_FILES, *for_browsers, *pages]
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    fails_with([f"{path.relative_to(ROOT)}: {lines} lines" for path, lines in lengths.items() if lines > MAX_LINES])


def test_tests_mirror_the_packages() -> None:
    """A folder of tests has a room in the package, and a room has a folder with tests, unless it is small."""
    # Of files: a folder that git has left may still have its `__pycache__`.
    rooms = Counter(path.parent.relative_to(ROOT) for path in FILES if path.parent != ROOT)
    folders = {path.parent.relative_to(ROOT / "tests") for path in TEST_FILES}
    with_tests = {path.parent.relative_to(ROOT / "tests") for path in TEST_FILES if path.name.startswith("test_")}
    mirrored = {folder for folder in folders if folder.parts and folder.parts[0] in MIRRORED}
    assert len(mirrored) > len(MIRRORED)
    violations = [f"tests/{folder}: there is no {folder}/" for folder in sorted(mirrored - rooms.keys())]
    for room, num_files in sorted(rooms.items()):
        num_modules = num_files - (ROOT / room / "__init__.py").is_file()
        is_excused = str(room) in TESTED_ELSEWHERE
        if room in with_tests and is_excused:
            violations.append(f"{room}: has tests, and a reason to have none")
        elif num_modules > MAX_MODULES_WITHOUT_TESTS and room not in with_tests and not is_excused:
            violations.append(f"{room}: no tests in tests/{room}, of {num_modules} modules")
    violations += [f"{room}: is excused, and not there" for room in TESTED_ELSEWHERE if Path(room) not in rooms]
    fails_with(violations)


def parameters_of_functions() -> dict[str, int]:
    """`module:line name` of every function -> the number of its parameters; `self` and `cls` do not count."""
    counts = {}
    for module, tree in modules().items():
        for node in nodes_of(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                given = node.args
                names = [one.arg for one in (*given.posonlyargs, *given.args)]
                count = len(names) + len(given.kwonlyargs) + (given.vararg is not None) + (given.kwarg is not None)
                counts[f"{module}:{node.lineno} {node.name}"] = count - (names[:1] in (["self"], ["cls"]))
    return counts


def test_functions_take_few_parameters() -> None:
    counts = parameters_of_functions()
    fails_with([f"{name}: {count} parameters" for name, count in counts.items() if count > MAX_PARAMETERS])


def test_few_functions_take_many_parameters() -> None:
    counts = parameters_of_functions()
    many = sorted((count, name) for name, count in counts.items() if count >= MANY_PARAMETERS)
    if len(many) > MAX_SHARE_WITH_MANY * len(counts):
        fails_with([f"{name}: {count} parameters, of {len(counts)} functions" for count, name in reversed(many)])


LOADS_NO_MODEL = (
    ["--help"],
    ["preprocess", "--help"],
    ["preprocess", "nowhere.jsonl", "store"],
    ["inspect", "nowhere"],
    ["--version"],
)
LOOK_WHAT_IS_LOADED = """
import os, sys
from cli.main import main
for arguments in {commands!r}:
    child = os.fork()
    if child == 0:
        sys.argv = ["fda", *arguments]
        try:
            main()
        except SystemExit:
            pass
        loaded = {libraries!r} & set(sys.modules)
        if loaded:
            print(" ".join(sys.argv), "loads", *sorted(loaded), file=sys.stderr, flush=True)
        os._exit(bool(loaded))
    if os.waitpid(child, 0)[1] != 0:
        sys.exit(1)
"""


def in_a_new_interpreter(program: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-W", "error", "-c", program]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_commands_that_need_no_model_load_no_torch() -> None:
    """Each in a fork of one new interpreter, which has loaded what all of them load."""
    program = LOOK_WHAT_IS_LOADED.format(commands=LOADS_NO_MODEL, libraries=MODEL_LIBRARIES)
    done = in_a_new_interpreter(program)
    assert done.returncode == 0, done.stderr


def test_importing_does_no_work() -> None:
    """No package writes, prints or starts anything when it is imported."""
    names = [name for name in modules() if name.split(".")[0] != "encoders"]
    program = "import threading\n" + "\n".join(f"import {name}" for name in names) + "\n"
    program += "assert threading.active_count() == 1, threading.enumerate()"
    done = in_a_new_interpreter(program)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
