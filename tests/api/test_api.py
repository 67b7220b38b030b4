"""`import fda`: light, complete, and the same as the command line: same bytes, same claims, same refusals."""

from __future__ import annotations

import ast
import builtins
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import is_dataclass
from inspect import isclass, isfunction
from pathlib import Path

import pytest

import fda
from pipeline.errors import OptionError
from pipeline.masks.options import MaskOptions
from pipeline.run.limits import Limit
from store.claims.holding import claimed
from store.errors import StoreBusyError, StoreMismatchError
from store.places.opening import folder_at
from tests.clips_on_disk import SMALL, SMALL_FLAGS, Commands, decoder_is_kept, write_mixed_dataset, write_small_dataset
from tests.encoders_tiny import write_config
from tests.paths import ROOT
from tests.searching import random_frames, searchable
from tests.stores import tree_digest

HERE = fda.RunOptions(workers=0)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capfd)


@pytest.fixture(autouse=True)
def one_decoder() -> Iterator[None]:
    """For all runs of these tests in this process."""
    with decoder_is_kept():
        yield


def python(program: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a program as a notebook would be, in a folder of its user's."""
    path = cwd / "notebook.py"
    path.write_text(program, encoding="utf-8")
    return subprocess.run([sys.executable, str(path)], cwd=cwd, capture_output=True, text=True, check=False)


def test_importing_it_loads_nothing_heavy() -> None:
    program = (
        "import sys\nimport fda\nfda.PreprocessOptions(), fda.EncodeOptions('x')\n"
        "fda.FinetuneOptions(), fda.EvalOptions()\n"
        "heavy = {'torch', 'cv2', 'dask', 'distributed', 'numpy', 'zarr', 'pyarrow', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_what_editors_see_is_what_there_is() -> None:
    """The imports for type checkers, the table of modules and `dir` agree, and every name can be had."""
    tree = ast.parse((ROOT / "fda.py").read_text(encoding="utf-8"))
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {
        (node.module, alias.name)
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    }
    assert typed == {(module, name) for module, names in fda._MODULES.items() for name in names}
    assert {name for _, name in typed} == set(fda.__all__) <= set(dir(fda))
    for name in fda.__all__:
        assert getattr(fda, name).__doc__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = fda.nothing


def test_the_version_is_that_of_the_command(command: Commands) -> None:
    assert "__version__" in dir(fda)
    assert command("--version").out.split() == ["fda,", "version", fda.__version__]


def test_options_and_results_are_frozen_values() -> None:
    for name in fda.__all__:
        value = getattr(fda, name)
        if name.endswith(("Options", "Extras", "Result", "Report", "Preview")):
            assert is_dataclass(value), name
            parameters = vars(value)["__dataclass_params__"]
            assert parameters.frozen, name


def test_modules_of_the_same_names_beside_a_notebook_do_no_harm(tmp_path: Path) -> None:
    for name in ("store", "pipeline", "encoders", "cli"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('this {name} is not of fda')")
    done = python("import fda\nprint(fda.MaskOptions().threshold, fda.open_store, fda.ModelSource)", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("25")


def test_a_module_of_the_same_name_that_was_imported_first_is_named(tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text("mine = 1")
    done = python("import store\nimport fda", tmp_path)
    assert done.returncode == 1
    assert f"a module 'store' from {tmp_path / 'store.py'} was imported before fda" in done.stderr


def test_worker_processes_of_a_script_find_the_packages_beside_a_store_py(tmp_path: Path) -> None:
    (tmp_path / "store.py").write_text("raise RuntimeError('this is not of fda')")
    write_small_dataset(tmp_path, {"test": 1})
    program = (
        "import fda\n"
        "options = fda.PreprocessOptions(image_size=32, eval_frames=3, shard_size=2)\n"
        "done = fda.preprocess('clips.jsonl', 'clips', options, run=fda.RunOptions(workers=1))\n"
        "print(done.num_workers, done.tally.num_videos, len(done.tally.failures))\n"
    )
    (tmp_path / "script.py").write_text(program)  # which workers do not import: it would run once more in each
    command = [sys.executable, "script.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "1", "0"]


def test_python_and_the_shell_leave_the_same_bytes(command: Commands, tmp_path: Path) -> None:
    clips = write_mixed_dataset(tmp_path)
    model = write_config(tmp_path)
    by_python, by_shell = tmp_path / "by-python", tmp_path / "by-shell"

    made = fda.preprocess(clips, by_python, SMALL, run=HERE)
    other = MaskOptions(kernel_size=3, min_area=8, threshold=10)
    fda.make_masks(by_python, "low", other, run=HERE)
    options = fda.EncodeOptions("mine", mask_name="low", precision="fp32")
    fda.encode(by_python, options, fda.ModelSource(model=model, pretrained="none"))
    report = fda.evaluate(by_python, "mine", fda.EvalOptions(max_missing=Limit.of(1.0)))

    shell = command("preprocess", clips, by_shell, *SMALL_FLAGS, "--workers", "0", "--max-failed", "100%", "--json")
    flags = ("--kernel-size", "3", "--min-area", "8", "--threshold", "10", "--workers", "0")
    assert command("masks", by_shell, "--masks", "low", *flags).code == 0
    encode = ("encode", by_shell, "--features", "mine", "--masks", "low", "--precision", "fp32")
    assert command(*encode, "--model", model, "--pretrained", "none").code == 0
    scored = command("eval", by_shell, "--features", "mine", "--max-missing", "100%", "--json")

    assert tree_digest(by_python) == tree_digest(by_shell)
    clocks = {"store", "seconds", "videos_per_second", "run"}
    said = json.loads(shell.out)
    mine = json.loads(json.dumps(made.to_dict()))
    assert {key: value for key, value in mine.items() if key not in clocks} == {
        key: value for key, value in said.items() if key not in clocks
    }
    assert json.loads(json.dumps(report.to_dict())) == json.loads(scored.out)


def test_a_run_from_python_and_another_run_exclude_each_other(command: Commands, tmp_path: Path) -> None:
    clips, place = write_small_dataset(tmp_path, {"test": 2}), tmp_path / "store"
    with claimed(folder_at(place), "fda preprocess", ["frames"]), pytest.raises(StoreBusyError, match="fda preprocess"):
        fda.preprocess(clips, place, SMALL, run=HERE)
    fda.preprocess(clips, place, SMALL, run=HERE)

    refused: list[int] = []

    def listen(event: fda.Event) -> None:
        if isinstance(event, fda.RunPlanned):  # while the run from Python is at work
            refused.append(command("masks", place, "--masks", "default", "--workers", "0").code)

    fda.make_masks(place, "default", SMALL.masks, run=HERE, listener=listen)
    assert refused == [1]


def test_warnings_are_values_and_events(tmp_path: Path) -> None:
    heard: list[fda.Event] = []
    made = fda.preprocess(write_mixed_dataset(tmp_path), tmp_path / "store", SMALL, run=HERE, listener=heard.append)
    messages = [event for event in heard if isinstance(event, fda.Message)]
    assert made.warnings == tuple(one.text for one in messages if one.is_warning)
    assert any("test has clips of 2 of 5 videos" in text for text in made.warnings)
    assert [str(one.status) for one in made.tally.failures] == ["missing", "truncated", "corrupt"]
    assert sum(one.num_done for one in heard if isinstance(one, fda.ItemsDone)) == 7


def test_runs_are_recorded_and_refusals_name_both_values(tmp_path: Path) -> None:
    clips, place = write_small_dataset(tmp_path, {"test": 2}), tmp_path / "store"
    made = fda.preprocess(clips, place, SMALL, run=HERE)
    assert made.run is not None
    assert json.loads((place / made.run).read_text())["result"]["num_videos"] == 2
    assert fda.preprocess(clips, place, SMALL, run=HERE).run is None
    with pytest.raises(StoreMismatchError, match="eval_frames is 3 in the store and 5 now"):
        fda.preprocess(clips, place, fda.PreprocessOptions(2, 5, image_size=32, shard_size=2), run=HERE)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"workers": -1}, "workers must be 0 or more"),
        ({"scheduler": "tcp://a:1", "workers": 2}, "--workers is for workers that this run starts"),
        ({"scheduler": "tcp://a:1", "cluster": fda.ClusterOptions("slurm")}, "not both"),
        ({"cluster": fda.ClusterOptions("slurm")}, "--cluster needs --workers"),
        ({"worker_timeout_seconds": 1.0}, "--worker-timeout is for"),
        ({"partition": fda.Partition(1, 2), "overwrite": True}, "would remove what the other parts have made"),
    ],
)
def test_options_that_do_not_fit_together_are_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        fda.RunOptions(**fields)  # type: ignore[arg-type]


def test_looking_after_a_store(tmp_path: Path) -> None:
    clips, place = write_small_dataset(tmp_path, {"test": 2}), tmp_path / "store"
    fda.preprocess(clips, place, SMALL, run=HERE)
    assert [stage.num_done for split in fda.status(place).status.splits for stage in split.stages] == [1, 1]
    assert fda.verify(place).is_sound
    assert fda.finalise(place).is_done
    shard = next((place / "clips.zarr/test/frames").glob("c.*"))
    shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    assert not fda.verify(place).is_sound
    repaired = fda.verify(place, repair=True)
    assert repaired.is_sound
    assert repaired.repaired is not None
    assert repaired.repaired.num_removed > 0
    assert not fda.finalise(place).is_done
    fda.preprocess(clips, place, SMALL, run=HERE)
    assert fda.verify(place).is_sound
    masks = fda.RemoveOptions(masks=("default",))
    assert not fda.remove(place, masks, preview=True).is_removed
    assert fda.remove(place, masks).is_removed
    with pytest.raises(OptionError, match="say what to remove"):
        fda.RemoveOptions()


def test_a_bug_shows_where_it_happened_and_asks_for_a_report(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Only errors made for users become one line."""
    from cli.main import main

    def broken(*_: object, **__: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(fda, "status", broken)
    monkeypatch.setattr(sys, "argv", ["fda", "status", str(tmp_path)])
    with pytest.raises(KeyError, match="a bug"):
        main()


def test_files_of_the_commands_are_written_from_python_as_well(command: Commands, tmp_path: Path) -> None:
    """The page of a search, the table of all queries; and what a generated data set would take."""
    store = searchable(tmp_path / "store", random_frames(6)).place
    files = fda.SearchFiles(tmp_path / "page.html")
    query = fda.Query("-vidéo_0", fda.QueryKind.VIDEO)
    found = fda.search(store, query, files=files)
    assert (found.page, found.to_dict()["page"]) == (files.page, str(files.page))
    made = (tmp_path / "page.html").read_bytes()
    with pytest.raises(FileExistsError):
        fda.search(store, query, files=files)
    line = ("search", store, "--video", query.value, "--html", tmp_path / "page.html")
    assert (command(*line).code, command(*line, "--overwrite").code) == (1, 0)
    assert (tmp_path / "page.html").read_bytes() == made

    python, shell = tmp_path / "python.parquet", tmp_path / "shell.parquet"
    (features,) = fda.open_store(store).feature_names("test")
    report = fda.evaluate(store, features)
    assert report.write_per_query(python).num_rows == report.result.num_captions + report.result.num_videos
    assert command("eval", store, "--features", features, "--per-query", shell).code == 0
    assert shell.read_bytes() == python.read_bytes()

    sliced = fda.evaluate(store, features, extras=fda.EvalExtras(slices=("all",)))
    with pytest.raises(fda.NothingToDrawError, match="all queries are in one slice"):
        sliced.write_figure(tmp_path / "slices.png")
    with pytest.raises(fda.OptionError, match="must end in .png or .svg or .pdf"):
        sliced.write_figure(tmp_path / "slices.jpg")
    with pytest.raises(fda.InputError, match="would lie in the store"):
        sliced.write_figure(Path(store) / "slices.png")
    with pytest.raises(fda.InputError, match="would lie in the store"):
        report.write_per_query(Path(store) / "ranks.parquet")
    with pytest.raises(fda.OptionError, match="it is empty"):
        report.write_per_query("")
    with pytest.raises(fda.OptionError, match="only a STORE can be at s3://"):
        sliced.write_figure("s3://bucket/slices.png")
    with pytest.raises(fda.OptionError, match="no slices were scored"):
        report.write_figure(tmp_path / "other.png")

    options = fda.GenerateOptions(size=fda.Size.TINY, num_train=2, num_eval=1)
    flags = ("--size", "tiny", "--num-train", "2", "--num-eval", "1", "--dry-run", "--json")
    asked = command("generate", tmp_path / "data", *flags)
    assert json.loads(asked.out) == fda.preview_generation(options).to_dict()
    assert not (tmp_path / "data").exists()


def test_the_errors_that_functions_name_can_be_caught() -> None:
    """Of all that a docstring lists under Raises, whoever catches it needs no other import."""
    documented = [getattr(fda, name) for name in fda.__all__]
    documented += [one for kind in documented if isclass(kind) for one in vars(kind).values() if isfunction(one)]
    named = {name for one in documented for name in re.findall(r"^ +(\w+Error):", one.__doc__ or "", re.MULTILINE)}
    assert {"DatasetError", "StoreMissingError", "WeightsError"} <= named
    assert named - set(fda.__all__) <= set(dir(builtins))
