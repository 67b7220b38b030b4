"""Every command line in README and docs/ is run, or where that takes a cluster or a server, parsed.

`tests.docs.reader` says what replaces a reader's videos, and weights that would be downloaded. docs/clusters.md,
docs/evaluation.md and docs/python.md have tests of their own besides this one.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path

import click
import pytest

from cli.main import COMMANDS, fda
from encoders.config import ModelConfig
from encoders.model import AlphaClip
from pipeline.datasets.read import read_dataset
from tests.clips_on_disk import Commands
from tests.docs.pages import PAGES, Block, anchors, blocks_of, command_lines, inline_code, links
from tests.docs.reader import Reader, as_run_here, can_run, copied, write_manifest_block, write_reader_files
from tests.paths import ROOT

README = ROOT / "README.md"
TOP = ("cli", "encoders", "pipeline", "store")
TESTED_ELSEWHERE = ("python.md", "evaluation.md")
"""Their Python is run by tests of their own."""
WHERE_FDA_IS = "PATH=$PWD/.venv/bin:$PATH"
OF_OTHERS = {"--array", "--memory-limit", "--nthreads", "--preload", "--requeue"}
"""Options of SLURM and Dask that pages name."""
PREPARED = (
    "preprocess clips.jsonl STORE",
    "masks STORE --masks noise --threshold-mode noise",
    "finetune STORE CHECKPOINT --preset demo",
    "encode STORE --features mine --checkpoint CHECKPOINT",
    "encode STORE --features ones --checkpoint CHECKPOINT --alpha ones",
)
"""What a page finds done, be it that another page did it."""

NUMBER = re.compile(r"([+-]?\d[\d.,]*|(?<!\S)-(?!\S))%?")
"""With the sign for per cent; a cell without a number has a dash."""

runnable = pytest.mark.parametrize(
    "page",
    [page for page in PAGES if any(words[0] == "fda" for words in command_lines(page))],
    ids=lambda page: page.name,
)
every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capfd)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The reader's folder, with what `PREPARED` makes."""
    folder = tmp_path_factory.mktemp("prepared")
    write_reader_files(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for line in PREPARED:
            assert not fda.main(as_run_here(line.split()), prog_name="fda", standalone_mode=False), line
    return folder


@pytest.fixture
def reader(prepared: Path, tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch) -> Reader:
    return Reader(copied(prepared, tmp_path), commands, monkeypatch)


@runnable
def test_the_lines_run_and_print_what_the_page_shows(page: Path, reader: Reader) -> None:
    """One after the other, as a reader types them; Python in between is run too."""
    printed = ""
    for block in blocks_of(page):
        if block.language == "json" and page == README:
            write_manifest_block(reader.folder, block.text)
        elif block.language == "sh":
            printed = "".join(_run(reader, words) for words in block.commands if words[0] == "fda" and can_run(words))
        elif block.language == "python" and page.name not in TESTED_ELSEWHERE:
            exec(compile(block.text, page.name, "exec"), {})
        elif not block.language and printed:  # a drawing of files and folders follows no command
            _expect_shown(block, printed)
            printed = ""


def _run(reader: Reader, words: list[str]) -> str:
    ended = reader.run(words[1:])
    assert ended.code == 0, f"{' '.join(words)}\n{ended.err}"
    return ended.err + ended.out


def _expect_shown(block: Block, printed: str) -> None:
    """Every line that the page shows was printed, whatever its numbers."""
    there = {_shape(line) for line in printed.splitlines()}
    assert [line for line in block.text.splitlines() if _shape(line) not in there] == []


def _shape(line: str) -> str:
    """A line without its numbers and the width of its columns.

    >>> _shape("  text to video   33.3   2.0 ") == _shape("text to video 5.9 11.0")
    True
    """
    return re.sub(r"─+", "─", " ".join(NUMBER.sub("0", line).replace("videos", "video").split()))


@every_page
def test_other_lines_are_understood(page: Path, prepared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not run: its options, targets, modules and files exist."""
    monkeypatch.chdir(prepared)
    for words in command_lines(page):
        if words[0] == "fda":
            if not can_run(words):
                _parse(words[1:])
        elif words[0] == "torchrun":
            assert words[words.index("cli.main") - 1] == "-m"
            _parse(words[words.index("cli.main") + 1 :])
        elif words[0] == "make":
            assert words[1] in _make_targets(), words
        elif words[:2] == ["python", "-m"]:
            assert importlib.util.find_spec(words[2]) is not None, words
        elif words[0] == "export":
            assert words[1:] == [WHERE_FDA_IS]
        elif words[0] == "pip":
            assert set(re.findall(r"\[(\w+)\]", " ".join(words))) <= _extras(), words
        else:
            assert (ROOT / words[0]).is_file(), f"a test for lines like {words} is missing"


@every_page
def test_commands_and_options_in_the_text_exist(page: Path) -> None:
    for code in inline_code(page):
        words = code.replace("|", " ").split()
        if words[0] == "make" and len(words) > 1:
            assert set(words[1:2]) <= _make_targets(), code
        flags = {word.split("=")[0] for word in words if re.fullmatch(r"--[a-z][\w-]*(=.*)?", word)}
        if words[0] == "fda" and words[1:] and words[1].startswith("--"):
            assert flags <= {flag for option in fda.params for flag in option.opts}, code
        elif words[0] == "fda" and len(words) > 1 and words[1].islower() and "." not in words[1]:
            assert words[1] in COMMANDS, code
            assert flags <= _flags(words[1]), code
        elif words[0].startswith("--"):
            assert flags <= OF_OTHERS.union(*map(_flags, COMMANDS)), code


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    for file, anchor in links(page):
        target = page.parent / file if file else page
        assert target.exists(), file
        assert not anchor or anchor in anchors(target), f"{file}#{anchor}"


def test_readme_says_where_fda_is_before_it_is_run() -> None:
    lines = [words for words in command_lines(README) if words[0] in ("export", "fda")]
    assert lines[0] == ["export", WHERE_FDA_IS]
    assert "VENV := .venv\nBIN := $(VENV)/bin\n" in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


def test_the_manifests_and_models_that_pages_show_can_be_read(tmp_path: Path) -> None:
    shown = [block.text for page in PAGES for block in blocks_of(page) if block.language == "json"]
    models = [text for text in shown if "embed_dim" in text]
    manifests = [text for text in shown if text not in models]
    assert len(manifests) >= 2
    for text in manifests:
        (tmp_path / "clips.jsonl").write_text(text, encoding="utf-8")
        assert len(read_dataset("jsonl", tmp_path / "clips.jsonl").videos) == len(text.splitlines())
    assert models
    for text in models:
        (tmp_path / "model.json").write_text(text, encoding="utf-8")
        AlphaClip(ModelConfig.from_name_or_file(str(tmp_path / "model.json")))


def test_the_rooms_of_the_house_exist() -> None:
    """Every path in CONTRIBUTING, and every package has a line there, be it of its parent."""
    paths = [
        code
        for code in inline_code(ROOT / "CONTRIBUTING.md")
        if re.match(r"(store|pipeline|encoders|cli|tests)/", code)
    ]
    assert [path for path in paths if not (ROOT / path).exists()] == []
    folders = (path.parent.relative_to(ROOT) for top in TOP for path in sorted((ROOT / top).rglob("__init__.py")))
    packages = [folder.as_posix() for folder in folders]
    named = tuple(path.rstrip("/") for path in paths)
    lost = [name for name in packages if not any(_is_in(name, path) for path in named)]
    assert lost == ["cli", "pipeline"]  # they are but their wings


def _is_in(package: str, path: str) -> bool:
    return f"{package}/".startswith(f"{path}/")


def _parse(words: list[str]) -> None:
    """By click itself, which refuses unknown options, bad values and files that do not exist."""
    name, *arguments = words
    with _command(name).make_context(name, arguments, parent=_parent()):
        pass


def _command(name: str) -> click.Command:
    command = fda.get_command(click.Context(fda), name)
    assert command is not None, name
    return command


def _parent() -> click.Context:
    """With `-h`: a command keeps the help option that its first context names."""
    return click.Context(fda, **fda.context_settings)


def _flags(name: str) -> set[str]:
    command = _command(name)
    options = command.get_params(click.Context(command, parent=_parent()))
    return {flag for option in options for flag in (*option.opts, *option.secondary_opts)}


def _make_targets() -> set[str]:
    return set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def _extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
