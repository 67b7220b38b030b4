"""What shells are told when their user types Tab: through click's own machinery, and by a real bash."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import ShellComplete

from cli.completing import VARIABLE
from cli.main import COMMANDS, fda
from tests.clips_on_disk import Commands
from tests.paths import ROOT

HEAVY = {"torch", "numpy", "pyarrow", "zarr", "cv2", "dask", "scipy", "matplotlib"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders as a store has them, and one that somebody put there."""
    place = tmp_path_factory.mktemp("stores") / "a store"
    for name in ("mine", "other", "$(reboot)", "-x"):
        (place / "features.zarr" / name).mkdir(parents=True)
    for split in ("train", "test"):
        for name in ("default", "noise"):
            (place / "clips.zarr" / split / "masks" / name).mkdir(parents=True)
    return place


def completed(*words: str | Path) -> list[str]:
    """What is offered for the last word."""
    *before, incomplete = map(str, words)
    found = ShellComplete(fda, {}, "fda", VARIABLE).get_completions(before, incomplete)
    return [item.value if item.type == "plain" else f"<{item.type}>" for item in found]


def test_commands_options_choices_and_files() -> None:
    assert completed("") == list(COMMANDS)
    assert completed("ev") == ["eval"]
    assert completed("eval", "--prot") == ["--protocol"]
    assert completed("preprocess", "nowhere", "STORE", "--dataset", "msr") == ["msrvtt"]
    assert completed("completion", "") == ["bash", "zsh", "fish"]
    assert completed("status", "sto") == ["<file>"]
    assert completed("finetune", "STORE", "CHECKPOINT", "--preset", "fda") == [
        "fda-clip",
        "fda-clip-alpha",
        "fda-clip-authors",
    ]
    assert completed("finetune", "STORE", "CHECKPOINT", "--preset", "./mine.t") == ["<file>"]


def test_every_command_completes_its_options() -> None:
    for name in COMMANDS:
        assert "--json" in completed(name, "--js"), name


def test_names_in_the_store_that_was_typed(store: Path) -> None:
    for command in ("eval", "encode", "import-features", "remove", "inspect", "search", "report", "export"):
        assert completed(command, store, "--features", "") == ["mine", "other"], command
        assert completed(command, store, "--split", "t") == ["test", "train"], command
    assert completed("compare", store, "mine", "o") == ["other"]
    assert completed("compare", store, "mine", "other", "--split", "te") == ["test"]
    lines: tuple[tuple[str | Path, ...], ...] = (
        ("masks", store),
        ("preprocess", "clips.jsonl", store),
        ("finetune", store, "CHECKPOINT"),
        ("export", store, "OUT"),
        ("inspect", store),
    )
    for words in lines:
        assert completed(*words, "--masks", "") == ["default", "noise"], words
    assert completed("eval", "--split", "test", store, "--features", "m") == ["mine"]


@pytest.mark.parametrize("place", ["nowhere", "s3://bucket/store", __file__, ""])
def test_where_there_is_no_store_there_are_no_names(place: str) -> None:
    if place == __file__:  # the shell is told nothing: see `cli.completing`
        with pytest.raises(Exception, match="is a file"):
            completed("eval", place, "--features", "")
    else:
        assert completed("eval", place, "--features", "") == []


def test_nothing_heavy_is_loaded_to_complete() -> None:
    modules = [module for module, _ in COMMANDS.values()]
    program = (
        f"import sys\n{''.join(f'import {name}' + chr(10) for name in modules)}print(*{HEAVY!r} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_script_for_each_shell(fda: Commands, shell: str) -> None:
    script = fda("completion", shell).out
    assert f"{VARIABLE}={shell}_complete" in script
    assert json.loads(fda("completion", shell, "--json").out) == {"shell": shell, "script": script}


def test_no_other_shell(fda: Commands) -> None:
    assert fda("completion", "csh").code == 2


TRIED = """
eval "$(fda completion bash)"
try() { COMP_WORDS=("$@"); COMP_CWORD=$(( $# - 1 )); COMPREPLY=(); _fda_completion fda; echo "${COMPREPLY[*]}"; }
complete -p fda
try fda fin
try fda eval "${STORE// /\\\\ }" --features ''
try fda eval "$0" --features ''
try fda no-such-command --x
"""


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_a_real_bash_completes_and_shows_no_error(store: Path, tmp_path: Path) -> None:
    program = tmp_path / "fda"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m cli.main "$@"\n')
    program.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "PYTHONPATH": str(ROOT), "STORE": str(store)}
    command = ["bash", "--norc", "-c", TRIED, __file__]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    assert done.stdout.splitlines() == [
        "complete -o nosort -F _fda_completion fda",
        "finetune finalise",
        "mine other",
        "",
        "",
    ]
