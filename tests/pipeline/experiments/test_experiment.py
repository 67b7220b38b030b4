"""`fda experiment` by the real command line, on a store of a few clips: run, killed, refused, and written again."""

from __future__ import annotations

import json
import shlex
import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

import fda as api
from pipeline.experiments.commands import commands_of
from pipeline.experiments.data import data_commands
from pipeline.experiments.findings import QUICK
from pipeline.experiments.folder import ExperimentMismatchError
from pipeline.experiments.kinds.table import KINDS
from pipeline.experiments.masks import KINDS as MASK_KINDS
from pipeline.experiments.results import Results
from tests.clips_on_disk import SMALL, Commands, Ended, run_preprocess, write_small_dataset
from tests.encoders_tiny import TINY, write_config
from tests.experiments import write_small_store
from tests.forked import forked_fda
from tests.html_pages import ParsedPage
from tests.stores import tree_digest

CONDITIONS = ("no-alpha", "ones", "paper", "shuffled", "random-area", "soft")
"""One of each sort: the others are more kinds of masks."""


@dataclass(frozen=True)
class Ran:
    """A quick baseline that ran to its end."""

    folder: Path
    ended: Ended

    @property
    def flags(self) -> tuple[str | Path, ...]:
        some = ("--conditions", ",".join(CONDITIONS))
        return ("--store", self.folder / "store", "--preset", self.folder / "tiny.toml", "--quick", *some)

    @property
    def out(self) -> Path:
        return self.folder / "out"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("original")
    write_small_store(folder)
    return folder


@pytest.fixture
def made(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store and a preset, of each test alone."""
    return shutil.copytree(original, tmp_path_factory.mktemp("made") / "here")


@pytest.fixture(scope="module")
def ran(original: Path, tmp_path_factory: pytest.TempPathFactory) -> Ran:
    folder = shutil.copytree(original, tmp_path_factory.mktemp("ran") / "here")
    options = api.ExperimentOptions(
        store=str(folder / "store"), preset=str(folder / "tiny.toml"), quick=True, conditions=CONDITIONS
    )
    told: list[str] = []
    api.experiment(
        "baseline",
        folder / "out",
        options,
        listener=lambda event: told.append(event.text) if isinstance(event, api.Message) else None,
    )
    return Ran(folder, Ended(0, "", "\n".join(told)))


def test_all_is_in_one_folder_and_every_table_says_that_it_was_quick(ran: Ran) -> None:
    names = {path.name for path in ran.out.iterdir()}
    assert names >= {"results.json", "report.md", "results.csv", "commands.sh", "baseline.svg", "baseline.png"}
    report = (ran.out / "report.md").read_text()
    assert report.count(QUICK) == 1 + report.count("\n| --- ") == 4
    results = Results.read(ran.out / "results.json")
    assert set(results.conditions) == {*CONDITIONS}
    assert {cell.seed for cell in results.cells} == {0, 1}
    assert results.ranks("paper", "test", "text_to_video").shape == (2, 6)  # two captions a video
    lines = (ran.out / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + 2 * len(results.cells)
    assert "to do: " in ran.ended.err
    assert ran.ended.err.count("cell ") == len(results.cells)


def test_without_alpha_the_alpha_channel_changes_nothing(ran: Ran) -> None:
    """CLIP4Clip's mean pooling: the alpha convolution began at zero, and was not trained."""
    results = Results.read(ran.out / "results.json")
    view = api.open_store(ran.folder / "store")
    assert {one.more["alpha_cosine"]["test"] is None for one in results.cells_of("no-alpha")} == {True}
    # Said, for a checkpoint brings the alpha that it was trained with.
    masks = api.AlphaSource.MASKS
    masked = api.EncodeOptions("masked", splits=("test",), mask_name="paper", alpha=masks, precision="fp32")
    api.encode(ran.folder / "store", masked, api.ModelSource(checkpoint=ran.out / "checkpoints/no-alpha.s0"))
    ones, others = (view.features(name, "test").video for name in ("baseline.no-alpha.s0", "masked"))
    assert (ones == others).all()


def test_tables_are_made_again_from_the_results_alone(ran: Ran, fda: Commands, tmp_path: Path) -> None:
    out = tmp_path / "out"
    for name in ("results.json", "experiment.json"):
        out.mkdir(exist_ok=True)
        shutil.copy(ran.out / name, out)
    before = {name: digest for name, digest in tree_digest(ran.out).items() if "/" not in name}
    ended = fda("experiment", "baseline", out, *ran.flags)
    assert (ended.code, "nothing to do" in ended.err) == (0, True)
    assert tree_digest(out) == before
    assert QUICK in ended.out
    found = json.loads(fda("experiment", "baseline", out, *ran.flags, "--json").out)
    assert found["answer"] in (out / "report.md").read_text()
    assert found["quick"] is True
    assert tree_digest(out) == before


def test_killed_and_run_again_the_numbers_are_the_same(made: Path, fda: Commands, tmp_path: Path) -> None:
    """And the model of one threshold is trained once, however many masks it reads."""
    killed, whole = (shutil.copytree(made, tmp_path / name) for name in ("killed", "whole"))
    lines = {
        place: ("experiment", "tau", place / "out", "--store", place / "store", "--preset", place / "tiny.toml")
        for place in (killed, whole)
    }
    flags = ("--thresholds", "50", "--quick", "--no-progress")
    process = forked_fda(tmp_path, *lines[killed], *flags)
    while sum(1 for _ in killed.glob("out/cells/*.s*.json")) < 2:
        assert process.poll() is None, (tmp_path / "fda.0.err").read_text()
        time.sleep(0.01)
    process.kill()
    assert not (killed / "out/results.json").exists()
    again, undisturbed = (fda(*lines[place], *flags) for place in (killed, whole))
    assert (again.code, undisturbed.code) == (0, 0)
    first, second = (Results.read(place / "out/results.json") for place in (killed, whole))
    assert [one.to_dict() for one in first.cells] == [one.to_dict() for one in second.cells]
    assert (first.queries, first.masks) == (second.queries, second.masks)
    assert 0 < again.err.count("cell ") < undisturbed.err.count("cell ") == 6
    trained = {path.name for path in (whole / "out/checkpoints").iterdir()}
    assert trained == {f"tau-{threshold}.s{seed}" for threshold in (25, 50) for seed in (0, 1)}


def test_the_command_lines_make_the_same_cells(ran: Ran, fda: Commands) -> None:
    """Each call of the experiment is one of them: whatever they would make is complete."""
    lines = [
        shlex.split(line) for line in (ran.out / "commands.sh").read_text().splitlines() if line.startswith("fda ")
    ]
    assert {words[1] for words in lines} == {"masks", "finetune", "encode", "eval"}
    by_hand = [words for words in lines if any("paper.s1" in word or "shuffled.s0" in word for word in words)]
    assert len(by_hand) == 6
    for words in [*lines[:2], *by_hand]:
        ended = fda(*words[1:])
        assert ended.code == 0, ended.err
        made_nothing = "nothing to do" if words[1] in ("masks", "finetune") else "0 videos (0 frames/s)"
        assert words[1] == "eval" or made_nothing in ended.err


def test_another_experiment_in_the_same_folder_is_refused_and_named(ran: Ran, fda: Commands) -> None:
    before = tree_digest(ran.out)
    ended = fda("experiment", "baseline", ran.out, *ran.flags, "--seed", "7")
    assert ended.code == 1
    assert "seeds is [0, 1] in" in ended.error_line
    assert "and [7, 8] now. Give another folder" in ended.error_line
    assert tree_digest(ran.out) == before


def test_a_plan_says_what_it_would_cost_and_writes_nothing(made: Path, fda: Commands, tmp_path: Path) -> None:
    flags = ("--store", made / "store", "--preset", made / "tiny.toml", "--seeds", "4", "--plan")
    ended = fda("experiment", "baseline", tmp_path / "out", *flags)
    assert ended.code == 0
    assert "mean pooling, no alpha (CLIP4Clip)" in ended.out
    assert "seeds 0, 1, 2, 3" in ended.out
    num = 5 + len(MASK_KINDS)
    cost = json.loads(fda("experiment", "baseline", tmp_path / "out", *flags, "--json").out)["cost"]
    assert cost["num_trainings"] == 4 * num
    assert cost["num_steps"] == 4 * num * 2
    assert cost["num_clips_encoded"] == 4 * num * 3
    assert not (tmp_path / "out").exists()


def test_a_folder_of_something_else_is_left_alone(made: Path, fda: Commands, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    before = tree_digest(tmp_path)
    ended = fda("experiment", "baseline", tmp_path, "--store", made / "store", "--quick")
    assert (ended.code, "contains 'notes.txt', and no experiment of fda" in ended.error_line) == (1, True)
    assert tree_digest(tmp_path) == before


@pytest.mark.parametrize("more", [(), ("--plan",)])
def test_a_folder_in_the_store_is_refused(made: Path, fda: Commands, more: tuple[str, ...]) -> None:
    store = made / "store"
    before = tree_digest(store)
    ended = fda("experiment", "tau", store / "out", "--store", store, "--preset", made / "tiny.toml", *more)
    assert (ended.code, "would lie in the store" in ended.error_line) == (1, True), ended.err
    assert tree_digest(store) == before


def test_frames_of_another_size_are_resized_if_that_is_asked_for(made: Path, fda: Commands, tmp_path: Path) -> None:
    flags = ("--quick", "--preset", "demo", "--resize-frames", "--plan")
    ended = fda("experiment", "baseline", tmp_path / "out", "--store", made / "store", *flags)
    assert ended.code == 0, ended.err
    options = api.ExperimentOptions(store=str(made / "store"), quick=True, preset="demo", resize_frames=True)
    plan = api.preview_experiment("baseline", tmp_path / "out", options).plan
    lines = [line for line in commands_of(plan, tmp_path / "out") if line[1] == "finetune"]
    assert lines
    assert all("--resize-frames" in line for line in lines)
    with pytest.raises(api.OptionError, match="generated frames have the size that the model reads"):
        api.ExperimentOptions(resize_frames=True)


def test_a_preset_that_chooses_by_the_test_split_needs_validation_videos(fda: Commands, tmp_path: Path) -> None:
    run_preprocess(write_small_dataset(tmp_path, {"train": 4, "test": 3}), tmp_path / "store", SMALL)
    refused = fda(
        *("experiment", "baseline", tmp_path / "out", "--store", tmp_path / "store", "--preset", "fda-clip-authors"),
        *("--resize-frames", "--plan"),
    )
    assert refused.code == 1
    assert "chooses its weights by the split 'test', and an experiment by validation videos" in refused.err
    assert "has no split 'val'. `fda preprocess --split-by-hash" in refused.err


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (("--test-split", "nope"), 1, "has no split 'nope', which an experiment needs: it has train, val, test"),
        (("--thresholds", "1,x"), 2, "'1,x' is not a list of numbers, such as 0,12.5,25"),
        (("--thresholds", "300"), 2, "thresholds must be grey levels in 0..255"),
        (("--thresholds", "10"), 2, "thresholds are for the experiment 'tau', and this is 'baseline'"),
        (("--quick", "--seeds", "5"), 2, "a quick experiment has 2 seeds"),
        (("--factor", "speed=slow"), 2, "factors, num_train and num_eval are of generated data"),
        (("--num-eval", "4"), 2, "factors, num_train and num_eval are of generated data"),
        (("--size", "large"), 2, "size is of generated data"),
        (("--conditions", "paper,nope"), 2, "'baseline' has no condition 'nope': no-alpha, ones, paper, shuffled,"),
        (("--conditions", ""), 2, "'baseline' has no condition ''"),
        (("--alpha-checkpoint", "/no/such.pth"), 1, "cannot read weights from /no/such.pth"),
        (("--preset", "demo"), 1, "32 x 32 pixels, demo takes 224 x 224: decode the videos again"),
        (("--preset", "demo", "--plan"), 1, "or resize these frames and their masks with --resize-frames"),
        (("--conditions", "truth"), 1, "has no mask set 'truth', which the condition of this name reads: `fda import"),
        (("--seeds", "2"), 2, "2 is not in the range x>=3"),
        (("--set", "epochs"), 2, "'epochs' is not of the form KEY=VALUE"),
        (("--preset", "nope"), 1, "unknown preset 'nope'"),
    ],
)
def test_bad_options_are_named(
    made: Path, fda: Commands, tmp_path: Path, flags: tuple[str, ...], code: int, message: str
) -> None:
    preset = () if "--preset" in flags else ("--preset", made / "tiny.toml")
    ended = fda("experiment", "baseline", tmp_path / "out", "--store", made / "store", *preset, *flags)
    assert (ended.code, message in " ".join(ended.err.split())) == (code, True), ended.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("content", ["", "[]", '{"format": 9}', '{"format": 1, "about": {}}', "\x00"])
def test_damaged_results_are_named(ran: Ran, fda: Commands, tmp_path: Path, content: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(ran.out / "experiment.json", out)
    (out / "results.json").write_text(content)
    ended = fda("experiment", "baseline", out, *ran.flags)
    assert ended.code == 1
    assert f"{out / 'results.json'}" in ended.error_line


def test_a_second_run_in_the_folder_is_refused(ran: Ran, fda: Commands) -> None:
    from pipeline.experiments.folder import ExperimentFolder

    with ExperimentFolder(ran.out).locked():
        ended = fda("experiment", "baseline", ran.out, *ran.flags)
    assert (ended.code, "another `fda experiment` is working in" in ended.error_line) == (1, True)


@pytest.mark.parametrize(("kind", "why"), [("tau", "its thresholds make them"), ("long", "it has one, 'paper'")])
def test_an_experiment_without_a_choice_of_conditions_says_why(kind: str, why: str) -> None:
    with pytest.raises(api.OptionError, match=f"'{kind}' has no choice of conditions: {why}"):
        api.experiment(kind, "out", api.ExperimentOptions(conditions=("paper",)))


def test_so_many_clips_are_generated_as_are_asked_for(tmp_path: Path) -> None:
    options = api.ExperimentOptions(num_train=6, num_eval=3, conditions=("ones",))
    cost = api.preview_experiment("baseline", tmp_path / "out", options).cost
    assert (cost.num_trainings, cost.num_clips_encoded) == (3, 3 * 2 * 3)  # seeds x splits x clips
    with pytest.raises(api.OptionError, match="num_eval must be at least 2, got 1"):
        api.ExperimentOptions(num_eval=1)


def test_an_experiment_that_there_is_not() -> None:
    with pytest.raises(api.OptionError, match="there is no experiment 'nope': there are baseline, tau"):
        api.experiment("nope", "out")
    with pytest.raises(api.OptionError, match=r"seeds must be how many there are, from seed on, got \(0, 1, 2\)"):
        api.ExperimentOptions(seeds=(0, 1, 2))  # type: ignore[arg-type]
    with pytest.raises(api.OptionError, match="at least 3 seeds"):
        api.ExperimentOptions(seeds=1)


def test_a_mix_takes_cached_features_alone(made: Path, fda: Commands, tmp_path: Path) -> None:
    """`static`, on a store without static captions: a mix has a weight, and no features of its own."""
    place = shutil.copytree(made, tmp_path / "here")
    wanted = ("--conditions", "paper-mix,empty-ones")  # the other mix is another test's
    flags = ("--store", place / "store", "--preset", place / "tiny.toml", "--quick", *wanted)
    ended = fda("experiment", "static", tmp_path / "out", *flags)
    assert ended.code == 0, ended.err
    results = Results.read(tmp_path / "out/results.json")
    for cell in results.cells_of("paper-mix"):
        assert cell.more["chosen_on"] == ["val"]
        weight, view = cell.more["weight"], api.open_store(place / "store")
        assert 0 <= weight <= 1
        both = [view.features(f"static.{name}.s{cell.seed}", "test") for name in ("paper", "paper-whole")]
        video = weight * both[0].video + (1 - weight) * both[1].video
        scores = both[0].text @ (video / np.linalg.norm(video, axis=1, keepdims=True)).T
        own = scores[np.arange(len(scores)), both[0].truth]
        assert (cell.ranks["test"]["text_to_video"] == (scores >= own[:, None]).sum(axis=1)).all()
    assert not list((place / "store").glob("features.zarr/*mix*"))
    assert "-mix." not in (tmp_path / "out/commands.sh").read_text()


def test_only_the_conditions_that_are_wanted_are_run_with_those_that_they_need(made: Path, tmp_path: Path) -> None:
    place = shutil.copytree(made, tmp_path / "here")
    usual = api.ExperimentOptions(store=str(place / "store"), preset=str(place / "tiny.toml"), quick=True)
    some = replace(usual, conditions=("auto-mix",))
    plan = api.preview_experiment("static", tmp_path / "out", some).plan
    assert [one.name for one in plan.conditions] == ["auto", "auto-whole", "auto-mix"]
    assert {one.name for one in plan.masks} == {"auto", "paper"}  # the whole image is encoded beside some mask set
    assert plan.left_out == ("ones", "paper", "empty-ones", "soft", "paper-whole", "paper-mix")
    found = api.experiment("static", tmp_path / "out", some)
    assert set(found.results.conditions) == {"auto", "auto-whole", "auto-mix"}
    assert "- left out: `ones`, `paper`," in (tmp_path / "out/report.md").read_text()
    assert "--conditions auto-mix" in (tmp_path / "out/commands.sh").read_text()
    assert "--quick --conditions auto-mix" in (tmp_path / "out/report.md").read_text()
    with pytest.raises(ExperimentMismatchError, match=r"conditions is .*auto-mix.* in .* and .* now"):
        api.experiment("static", tmp_path / "out", usual)
    two = api.experiment("masks", tmp_path / "two", replace(usual, conditions=("ones", "auto", "auto")))
    assert {cell.condition for cell in two.results.cells} == {"ones", "auto"}
    assert "points over all ones" in two.answer


def test_the_model_to_begin_with_may_be_another_than_the_presets(made: Path, fda: Commands, tmp_path: Path) -> None:
    """As in `fda finetune`; and it decides which experiment a folder has."""
    other = write_config(tmp_path, replace(TINY, name="other", embed_dim=2 * TINY.embed_dim))
    flags = ("--store", made / "store", "--quick", "--conditions", "ones", "--preset", made / "tiny.toml")
    model = ("--model", other, "--pretrained", "none")
    assert fda("experiment", "masks", tmp_path / "out", *flags, *model).code == 0
    assert api.open_store(made / "store").features("masks.ones.s0", "test").video.shape[1] == 2 * TINY.embed_dim
    assert f"--model {other} --pretrained none" in (tmp_path / "out/commands.sh").read_text()
    ended = fda("experiment", "masks", tmp_path / "out", *flags)
    assert (ended.code, "model is " in ended.error_line) == (1, True), ended.err


def test_a_plan_reads_no_weights_and_a_run_reads_them_before_it_writes(
    made: Path, fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--store", made / "store", "--preset", made / "tiny.toml", "--conditions", "ones")
    weights = ("--pretrained", tmp_path / "nowhere.pt", "--alpha-checkpoint", tmp_path / "nowhere.pth")
    assert fda("experiment", "masks", tmp_path / "out", *flags, *weights, "--plan").code == 0
    ended = fda("experiment", "masks", tmp_path / "out", *flags, *weights)
    assert (ended.code, "nowhere.pt" in ended.error_line) == (1, True), ended.err
    monkeypatch.setattr("pipeline.experiments.run.MINUTES_UNASKED", -1)
    assert "set yes (--yes) to begin" in fda("experiment", "masks", tmp_path / "out", *flags).error_line
    assert not (tmp_path / "out").exists()


def test_the_report_shows_what_lies_beside_the_store(ran: Ran, made: Path, fda: Commands, tmp_path: Path) -> None:
    one_set = ("--no-thumbnails", "--features", "baseline.ones.s0")
    assert fda("report", ran.folder / "store", "-o", tmp_path / "a.html", *one_set).code == 0
    page = ParsedPage((tmp_path / "a.html").read_text())
    assert "Do FDA-CLIP's masks help, and does anything help more?" in page.texts
    assert sum(QUICK in text for text in page.texts) == 4
    elsewhere = ("--no-thumbnails", "--experiments", tmp_path)
    ended = fda("report", ran.folder / "store", "-o", tmp_path / "b.html", *elsewhere)
    assert (ended.code, f"no experiment in {tmp_path}: neither it nor a folder in it" in ended.error_line) == (1, True)
    assert not (tmp_path / "b.html").exists()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken/results.json").write_text("{")
    ended = fda("report", made / "store", "-o", tmp_path / "c.html", *elsewhere)  # which has no features: quickly done
    assert (ended.code, "an experiment is missing: " in ended.err) == (0, True)


def test_the_lines_that_generate_data_are_understood(fda: Commands, tmp_path: Path) -> None:
    for kind in api.ExperimentKind:
        for options in (api.ExperimentOptions(quick=True), api.ExperimentOptions(seed=3, factors={"speed": "slow"})):
            lines = data_commands(tmp_path, KINDS[kind], options)
            assert [words[1] for words in lines] == ["generate", "preprocess", "import-masks"]
            flags = ["--train-frames", "12"] if kind == "long" else []
            assert lines[1][4:] == ["--masks", "paper", *flags]
            ended = fda(*lines[0][1:], "--dry-run")
            assert ended.code == 0, ended.err
    small = api.ExperimentOptions(model=write_config(tmp_path), pretrained="none")
    assert data_commands(tmp_path, KINDS[api.ExperimentKind.BASELINE], small)[1][-2:] == ["--image-size", "32"]
