"""What docs/clusters.md shows can be copied: its shell is bash, its options and settings exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from pathlib import Path

import click
import pytest

from cli.main import fda
from pipeline.frames.options import DecodingOptions, PreprocessOptions
from pipeline.frames.run import worker_memory
from pipeline.workers.job_settings import JobSettings
from tests.paths import ROOT

PAGE = (ROOT / "docs/clusters.md").read_text(encoding="utf-8")
WORKER = worker_memory(PreprocessOptions(), DecodingOptions())


def snippets(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def fda_commands() -> list[list[str]]:
    """The words after `fda` of each command, be it the last of a line or the text of --wrap."""
    lines = "\n".join(snippets("bash")).replace("\\\n", " ").splitlines()
    found = []
    for line in lines:
        wrapped = re.search(r'--wrap "(fda .*)"', line)
        command = wrapped[1] if wrapped else line
        if re.match(r"(srun )?fda ", command):
            words = shlex.split(command.split(" > ")[0])
            found.append(words[words.index("fda") + 1 :])
    return found


@pytest.mark.parametrize("snippet", snippets("bash"), ids=lambda snippet: snippet.splitlines()[-1][:40])
def test_the_shell_is_bash(snippet: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=snippet, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


@pytest.mark.parametrize("words", fda_commands(), ids=" ".join)
def test_the_options_exist(words: list[str], tmp_path: Path) -> None:
    """Parsed by click itself; what is a file on the page is one here, and what is a variable has a value."""
    (tmp_path / "clips.jsonl").touch()
    (tmp_path / "fda.toml").write_text(next(one for one in snippets("toml") if "slurm" in one))
    meant = {
        "/data/clips.jsonl": str(tmp_path / "clips.jsonl"),
        "fda.toml": str(tmp_path / "fda.toml"),
        "$SLURM_CPUS_PER_TASK": "32",
        "$SLURM_ARRAY_TASK_ID": "3",
    }
    line = " ".join(words)
    for name, value in meant.items():
        line = line.replace(name, value)
    name, *arguments = line.split()
    parent = click.Context(fda, **fda.context_settings)  # with -h: a command keeps the help option of its first context
    command = fda.get_command(parent, name)
    assert command is not None
    with command.make_context(name, arguments, parent=parent):
        pass


def test_there_is_a_command_for_each_step() -> None:
    commands = [words[0] for words in fda_commands()]
    assert {name: commands.count(name) for name in commands} == {
        "preprocess": 6,
        "finalise": 1,
        "encode": 1,
        "eval": 1,
    }


@pytest.mark.parametrize("toml", snippets("toml"), ids=lambda toml: toml.splitlines()[0])
def test_the_settings_are_known_and_big_enough(toml: str) -> None:
    ((kind, table),) = tomllib.loads(toml)["cluster"].items()
    JobSettings(kind, table).check_memory(WORKER)


def test_the_memory_of_a_script_holds_all_the_workers_that_it_starts() -> None:
    asked, fitting = [], []
    for script in snippets("bash"):
        options = dict(re.findall(r"--(mem|cpus-per-task|workers)[= ](\S+)", script))
        if {"mem", "workers"} <= options.keys():
            cpus = options["cpus-per-task"]
            asked.append(int(options["workers"].replace('"$SLURM_CPUS_PER_TASK"', cpus)))
            fitting.append(WORKER.num_fitting(int(cpus), int(options["mem"].removesuffix("G")) << 10))
    assert asked == [32, 4]
    assert fitting == asked
