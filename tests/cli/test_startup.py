"""What a small run does not need is neither imported nor started, and what is loaded is not taken apart at the end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.cli.encode_commands import encode
from tests.clips_on_disk import SMALL_FLAGS, write_small_dataset
from tests.encoders_tiny import write_config
from tests.paths import ROOT

NOT_FOR_ONE_SHARD = ("dask", "distributed", "matplotlib", "pandas", "skimage.segmentation")
NOT_FOR_FRAMES = (*NOT_FOR_ONE_SHARD, "open_clip", "torch")
OF_TORCHVISION = ("torchvision.datasets", "torchvision.models")
NOT_FOR_CLIP = (*NOT_FOR_ONE_SHARD, *OF_TORCHVISION, "sympy", "timm", "torch._dynamo", "transformers")
ONE_SHARD = ("--shard-size", "3")
RUN_EACH = """
import os, sys
from cli.main import main
for commands, unwanted, num_processes in {lines!r}:
    if child := os.fork():
        if os.waitpid(child, 0)[1] != 0:
            sys.exit(1)
        continue
    started = []
    starts = ("os.fork", "os.posix_spawn", "subprocess.Popen")
    sys.addaudithook(lambda event, arguments: started.append(arguments) if event in starts else None)
    for words in commands:
        sys.argv = ["fda", *words]
        try:
            main()
        except SystemExit as stop:
            assert not stop.code, words
    loaded = set(unwanted) & set(sys.modules)
    assert not loaded, (commands, loaded)
    assert len(started) == num_processes, (commands, started)
    sys.stderr.flush()
    os._exit(0)
"""
ENDS = """
import atexit, sys, threading, time
from cli.main import program

class Loaded:
    def __del__(self):
        print("taken apart", flush=True)

loaded = Loaded()
loaded.itself = loaded
atexit.register(print, "at the end")
threading.Thread(target=lambda: (time.sleep(0.1), print("in a thread"))).start()
sys.argv = ["fda", {word!r}]
program()
"""

INTERRUPTED = """
import atexit, signal, sys, threading
from cli.main import program

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
threading._register_atexit(signal.raise_signal, signal.SIGINT)  # called where threads are waited for
atexit.register(print, "at the end")
sys.argv = ["fda", "--version"]
program()
"""


def python(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)


def test_small_runs_import_and_start_only_what_they_need(tmp_path: Path) -> None:
    """Each line in a fork of one new interpreter."""
    manifest, place = write_small_dataset(tmp_path, {"train": 3}), tmp_path / "store"
    model = ("--model", write_config(tmp_path), "--pretrained", "none", "--preset", "demo")
    few = ("epochs=1", "batch_size=2", "max_words=8")
    settings = [word for one in few for word in ("--set", one)]
    train: Sequence[str | Path] = ("finetune", place, tmp_path / "checkpoint", *model, *settings, "--hold-out", "0.4")
    score = ("eval", place, "--features", "mine", "--split", "train")
    search = ("search", place, "--video", "train_0", "--html", tmp_path / "page.html")
    lines: Sequence[tuple[Sequence[Sequence[str | Path]], Sequence[str], int]] = [
        ([("preprocess", manifest, place, *SMALL_FLAGS)], NOT_FOR_FRAMES, 1),  # its decoder
        ([("preprocess", manifest, tmp_path / "two", *SMALL_FLAGS, *ONE_SHARD, "--workers", "2")], NOT_FOR_FRAMES, 2),
        ([("masks", place, "--masks", "other", "--kernel-size", "3")], NOT_FOR_FRAMES, 0),
        ([train, encode(place, Path(write_config(tmp_path)))], NOT_FOR_CLIP, 0),
        ([score, search], NOT_FOR_FRAMES, 0),
    ]
    words = [([[*map(str, command)] for command in commands], unwanted, number) for commands, unwanted, number in lines]
    done = python(RUN_EACH.format(lines=words))
    assert done.returncode == 0, done.stderr


def test_the_program_ends_with_its_code_and_all_that_waits_for_the_end() -> None:
    for word, code in (("--version", 0), ("--no-such-option", 2)):
        done = python(ENDS.format(word=word))
        lines = [line for line in done.stdout.splitlines() if not line.startswith("fda, version")]
        assert (done.returncode, lines) == (code, ["in a thread", "at the end"]), done.stderr


def test_an_interrupt_at_the_end_changes_neither_the_code_nor_what_is_said() -> None:
    done = python(INTERRUPTED)
    assert (done.returncode, done.stdout.splitlines()[1:], done.stderr) == (0, ["at the end"], "")


def test_what_watches_a_command_gets_its_result(tmp_path: Path) -> None:
    found = tmp_path / "profile"
    command = [sys.executable, "-m", "cProfile", "-o", str(found), "-m", "cli.main", "--version"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=60)
    assert found.stat().st_size > 0
