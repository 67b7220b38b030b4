"""Every command on a store at s3://: the same results, and the same bytes, as on a local disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from store.claims.holding import ANY_STAGE, claimed
from store.places.opening import folder_at
from store.places.s3 import close_connection
from tests.clips_on_disk import (
    SMALL_FLAGS,
    Commands,
    Ended,
    fda_in_a_process,
    of_the_run,
    write_mixed_dataset,
    write_small_dataset,
)
from tests.encoders_tiny import write_config
from tests.forked import forked_fda
from tests.s3 import BUCKET, SECRET, Fault, Seen, Server, place_of, tree, use_server


@pytest.fixture
def fda(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], server: Server) -> Commands:
    use_server(monkeypatch, server)
    return Commands(monkeypatch, capfd)


@pytest.fixture
def place(request: pytest.FixtureRequest) -> str:
    return f"{place_of(request)}/my störe"


def results(ended: Ended) -> dict[str, object]:
    """What a command gives with --json, but for what differs from run to run."""
    assert ended.code == 0, ended.err
    found = json.loads(ended.out)
    for key in ("store", "seconds", "run", "runs", "peak_memory_mib"):
        found.pop(key, None)
    return {key: value for key, value in found.items() if not key.endswith("_per_second")}


def test_all_commands(fda: Commands, tmp_path: Path, place: str) -> None:
    clips = write_small_dataset(tmp_path, {"train": 3, "test": 2})
    model = ("--model", write_config(tmp_path), "--pretrained", "none")
    local = str(tmp_path / "store")
    commands = [
        ("preprocess", clips, "STORE", *SMALL_FLAGS, "--workers", "0"),
        ("masks", "STORE", "--masks", "second", "--workers", "0", "--threshold", "40"),
        ("encode", "STORE", "--features", "mine", *model, "--masks", "second", "--precision", "fp32"),
        ("eval", "STORE", "--features", "mine"),
        ("inspect", "STORE", "--features", "mine", "--fullest", "2", "--page", tmp_path / "a.html", "--overwrite"),
        ("finalise", "STORE"),
        ("verify", "STORE"),
        ("status", "STORE"),
    ]
    for name, *rest in commands:
        one, other = (
            results(fda(name, *(there if argument == "STORE" else argument for argument in rest), "--json"))
            for there in (local, place)
        )
        assert one == other, name
    checkpoints = [tmp_path / "one", tmp_path / "other"]
    for there, checkpoint in zip((local, place), checkpoints, strict=True):
        train = ("--preset", "fda-clip-alpha", "--set", "epochs=1", "--set", "batch_size=2")
        assert fda("finetune", there, checkpoint, *model, *train).code == 0
    weights = [(checkpoint / "model.safetensors").read_bytes() for checkpoint in checkpoints]
    assert weights[0] == weights[1]
    exports = [tmp_path / "tables", tmp_path / "the same"]
    for there, out in zip((local, place), exports, strict=True):
        assert fda("export", there, out, "--format", "parquet", "--features", "mine").code == 0
    assert tree(folder_at(exports[0])) == tree(folder_at(exports[1]))
    expected = tree(folder_at(local))
    assert len(expected) > 40
    assert tree(folder_at(place)) == expected
    for there in (local, place):
        assert fda("remove", there, "--features", "mine", "--masks", "second", "--yes").code == 0
    assert tree(folder_at(place)) == tree(folder_at(local)) != expected


def test_a_data_set_grows_and_failures_are_the_same(fda: Commands, tmp_path: Path, place: str) -> None:
    clips = write_mixed_dataset(tmp_path)
    lines = clips.read_text().splitlines(keepends=True)
    local = str(tmp_path / "store")
    for there in (local, place):
        clips.write_text("".join(lines[:4]))
        assert fda("preprocess", clips, there, *SMALL_FLAGS, "--workers", "0", "--max-failed", "100%").code == 0
        clips.write_text("".join(lines))
        grown = fda("preprocess", clips, there, *SMALL_FLAGS, "--workers", "0", "--max-failed", "100%")
        assert "3 new videos" in grown.err
    assert tree(folder_at(place)) == tree(folder_at(local))
    refused = fda("preprocess", clips, place, *SMALL_FLAGS, "--workers", "0", "--image-size", "64")
    assert (refused.code, place in refused.error_line) == (1, True)
    again = fda("preprocess", clips, place, *SMALL_FLAGS, "--workers", "0", "--overwrite", "--max-failed", "100%")
    assert again.code == 0
    whole = str(tmp_path / "whole")
    assert fda("preprocess", clips, whole, *SMALL_FLAGS, "--workers", "0", "--max-failed", "100%").code == 0
    assert tree(folder_at(place)) == tree(folder_at(whole))


def test_damage_is_found_and_repaired(fda: Commands, tmp_path: Path, place: str) -> None:
    clips = write_small_dataset(tmp_path, {"test": 3})
    local = str(tmp_path / "store")
    found = []
    for there in (local, place):
        folder = folder_at(there)
        assert fda("preprocess", clips, there, *SMALL_FLAGS, "--workers", "0").code == 0
        expected = tree(folder)
        name = "clips.zarr/test/frames/c.1.0.0.0.0"
        folder.write(name, folder.read(name)[:-30] + bytes(30))
        folder.remove("clips.zarr/test/pts_seconds/c.0.0")
        assert fda("verify", there).code == 1
        ended = fda("verify", there, "--repair", "--json")
        found.append(ended.out.replace(there, "STORE"))
        fda("preprocess", clips, there, *SMALL_FLAGS, "--workers", "0")
        assert fda("verify", there).code == 0
        assert tree(folder) == expected
    one, other = (json.loads(out) for out in found)
    assert len(one["findings"]) >= 2
    assert one["findings"] == other["findings"]


def test_worker_processes_and_a_server_in_trouble(
    fda: Commands, tmp_path: Path, place: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shell's view: results on stdout, and on stderr not a word that is not ours."""
    clips = write_small_dataset(tmp_path, {"test": 4})
    local = tmp_path / "store"
    assert fda("preprocess", clips, local, *SMALL_FLAGS, "--workers", "0").code == 0
    close_connection()
    monkeypatch.setenv("PYTHONWARNINGS", "default")
    faults = [Fault.DROPPED, Fault.SLOW_DOWN, Fault.ANSWER_CUT]
    server.script.begin(lambda number, seen: faults[number // 9 % 3] if number % 9 == 8 else None)
    ended = fda_in_a_process("preprocess", clips, place, *SMALL_FLAGS, "--workers", "2", "--no-progress")
    server.script.begin()
    assert ended.code == 0, ended
    assert len(of_the_run(ended.err).splitlines()) == 2, ended.err  # how many workers, and how fast
    assert SECRET not in ended.out + ended.err
    assert tree(folder_at(place)) == tree(folder_at(local))


def test_what_a_user_has_to_repair(fda: Commands, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    clips = write_small_dataset(tmp_path, {"test": 1})
    made = ("preprocess", clips, place, *SMALL_FLAGS, "--workers", "0")
    for arguments, said in (
        (("status", place), f"no store at {place}"),
        (("status", f"s3://{BUCKET}-gone/store"), "there is no bucket"),
        (("preprocess", clips, f"s3://{BUCKET}-gone/store", *SMALL_FLAGS, "--workers", "0"), "there is no bucket"),
        (("eval", f"s3://me:{SECRET}@{BUCKET}/a", "--features", "mine"), "contains no user, password or server"),
        (("status", "gs://bucket/store"), "not at gs://"),
    ):
        ended = fda(*arguments)
        assert ended.code == 1
        assert said in ended.error_line
        assert SECRET not in ended.err
    close_connection()
    with monkeypatch.context() as patch:
        patch.delenv("AWS_ACCESS_KEY_ID")
        ended = fda(*made)
    assert (ended.code, "Credentials come from the environment alone" in ended.error_line) == (1, True)
    close_connection()
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        ended = fda(*made)
    assert (ended.code, "Could not connect" in ended.error_line) == (1, True)
    close_connection()
    assert not Path("s3:").exists()  # no command took the address for a path


def _gone_from(number: int) -> Callable[[int, Seen], Fault | None]:
    return lambda now, seen: Fault.INTERNAL if now >= number else None


def test_a_server_that_is_gone_for_good(
    fda: Commands, tmp_path: Path, place: str, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    clips = write_small_dataset(tmp_path, {"test": 1})
    use_server(monkeypatch, server, attempts=3)
    for number in (0, 5, 30, 50):
        server.script.begin(_gone_from(number))
        ended = fda("preprocess", clips, f"{place}/{number}", *SMALL_FLAGS, "--workers", "0")
        assert ended.code == 1
        assert re.search(f"cannot .* in {place}/{number}: the server says .*tried 3 times", ended.error_line), ended.err


def test_a_second_run_is_refused(fda: Commands, tmp_path: Path, place: str) -> None:
    clips = write_small_dataset(tmp_path, {"test": 1})
    with claimed(folder_at(place), "preprocess", [ANY_STAGE]):
        refused = fda("preprocess", clips, place, *SMALL_FLAGS, "--workers", "0")
    assert (refused.code, f"{place} is being written to by preprocess" in refused.error_line) == (1, True)
    assert fda("preprocess", clips, place, *SMALL_FLAGS, "--workers", "0").code == 0


@pytest.mark.parametrize("arguments", [["demo"], ["finetune", f"s3://{BUCKET}/store"]])
def test_what_is_no_store_wants_a_local_folder(fda: Commands, arguments: list[str]) -> None:
    ended = fda(*arguments, f"s3://{BUCKET}/a")
    assert (ended.code, "give a local folder: only a STORE can be at s3://" in ended.err) == (2, True)


def test_secrets_are_not_even_in_the_longest_log(
    fda: Commands, tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = "a-temporary-token"
    monkeypatch.setenv("AWS_SESSION_TOKEN", token)
    close_connection()
    status = forked_fda(tmp_path, "status", place, "-vv")
    said = "".join(status.communicate(timeout=600))
    assert status.returncode == 1
    assert "no store at" in said
    assert not [word for word in (token, SECRET, "Signature") if word in said]
