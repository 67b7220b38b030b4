"""Stores in an object store: what every folder does (`test_folders`) goes on doing when requests fail, each way."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import store.places.objects
import store.places.s3
from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import VideoSource, open_store, plan_preprocess, preprocess_shards
from pipeline.masks.mask_sets import create_mask_set, make_mask_set, plan_masks
from store.claims.claim import json_name
from store.claims.holding import ANY_STAGE, claimed
from store.completion import committed, input_digests, outcomes_of
from store.errors import (
    ClaimLostError,
    ShardIncompleteError,
    StoreError,
    StoreMissingError,
    StorePlaceError,
    StoreReadError,
    StoreWriteError,
)
from store.features import ClipFeatures, caption_shards, create_features, write_clip_features, write_text_features
from store.places.folder import StoredFile, StoreFolder
from store.places.objects import TAIL_BYTES, ObjectFolder
from store.places.opening import folder_at
from store.places.s3 import Patience, RequestError, close_connection
from store.stages import FRAMES_STAGE, features_stage, masks_stage
from store.store import Store
from tests.clips_on_disk import SMALL, write_small_dataset
from tests.decoders import RememberingDecoder
from tests.s3 import BUCKET, IMPATIENT_SECONDS, SECRET, Fault, Seen, Server, place_of, tree, use_server

FAULTS = [fault for fault in Fault if fault is not Fault.LATE]
REMEMBERING = RememberingDecoder()
MASKS = replace(SMALL.masks, threshold=40)


@pytest.fixture
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: Server) -> ObjectFolder:
    use_server(monkeypatch, server)
    return ObjectFolder.at(place_of(request))


@pytest.fixture
def reconnected() -> Iterator[None]:
    """For tests that change what a connection is made with."""
    close_connection()
    yield
    close_connection()


def once(fault: Fault, kind: str | None = None) -> Callable[[int, Seen], Fault | None]:
    """The fault for the first request, or the first of a kind, and for no other."""
    left = [fault]

    def fault_of(number: int, seen: Seen) -> Fault | None:
        return left.pop() if left and kind in (None, seen.kind) else None

    return fault_of


def every_other(fault: Fault) -> Callable[[int, Seen], Fault | None]:
    return lambda number, seen: fault if number % 2 else None


def always(fault: Fault) -> Callable[[int, Seen], Fault | None]:
    return lambda number, seen: fault


# Addresses


@pytest.mark.parametrize(
    ("address", "place"),
    [
        ("s3://bucket/a/b", "s3://bucket/a/b"),
        ("s3://bucket/a/b/", "s3://bucket/a/b"),
        ("s3a://bucket/a", "s3://bucket/a"),
        ("S3://bucket", "s3://bucket"),
        ("s3://bucket/", "s3://bucket"),
        ("s3://my.bucket-1/a b/ü%20", "s3://my.bucket-1/a b/ü%20"),
    ],
)
def test_an_address(address: str, place: str) -> None:
    folder = folder_at(address)
    assert folder.place == place
    assert folder_at(place) == folder == pickle.loads(pickle.dumps(folder))
    assert not folder.is_local


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("gs://bucket/a", "not at gs://: give the path where that is mounted"),
        ("https://bucket/a", "not at https://"),
        ("file:///a", "not at file://"),
        ("://a", "not at ://"),
        ("s3://", "'' is not the name of a bucket"),
        ("s3:///a", "'' is not the name of a bucket"),
        ("s3://a b/c", "'a b' is not the name of a bucket"),
        ("s3://bucket/a//b", "no part may be empty"),
        ("s3://bucket//a", "no part may be empty"),
        ("s3://bucket/a/../b", "or '..'"),
        ("s3://bucket/./b", "or '..'"),
        ("s3://bucket/a?versionId=1", "'?', '#'"),
        ("s3://bucket/a#b", "'?', '#'"),
        ("s3://bucket/a\nb", "characters that cannot be printed"),
        ("s3://bucket/" + "x" * 601, "the limit is 600 bytes"),
        (f"s3://me:{SECRET}@bucket/a", "belong into the environment"),
        (f"s3://{SECRET}@bucket/a", "belong into the environment"),
        (f"s3://localhost:9000/{SECRET}", "belong into the environment"),
    ],
)
def test_an_invalid_address(address: str, said: str) -> None:
    with pytest.raises(StorePlaceError, match=re.escape(said)) as caught:
        folder_at(address)
    assert SECRET not in str(caught.value)


# One request


@pytest.mark.parametrize("fault", Fault)
def test_every_call_is_answered_in_spite_of_a_fault(
    folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch, reconnected: None, fault: Fault
) -> None:
    use_server(monkeypatch, server, read_seconds=IMPATIENT_SECONDS)
    content = bytes(range(256)) * 1024  # larger than what is read with an opened file
    server.script.begin(once(fault))
    folder.write("a/name", content)
    server.script.begin(once(fault))
    assert folder.read("a/name") == content
    server.script.begin(once(fault))
    assert folder.num_bytes("a/name") == len(content)
    server.script.begin(once(fault))
    file, buffer = folder.open("a/name"), np.zeros(300, dtype=np.uint8)
    assert file is not None
    server.script.begin(once(fault))
    assert file.fill(1000, [buffer])
    assert buffer.tobytes() == content[1000:1300]
    server.script.begin(once(fault))
    assert (folder.names("a"), folder.folders("")) == (["a/name"], ["a"])
    server.script.begin(once(fault))
    assert list(folder.walk()) == [StoredFile("a/name", len(content))]
    server.script.begin(once(fault))
    folder.remove("a/name")
    folder.write("a/other", b"1")
    server.script.begin(once(fault, "POST"))
    folder.remove_tree("a")
    server.script.begin()
    assert list(folder.walk()) == []


@pytest.mark.parametrize("fault", [fault for fault in FAULTS if fault is not Fault.UPLOAD_CHANGED])
def test_a_fault_that_stays_is_named_after_a_few_attempts(
    folder: ObjectFolder,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
) -> None:
    use_server(monkeypatch, server, attempts=6)
    folder.write("there", b"0123456789")
    server.script.begin(always(fault))
    changes: list[Callable[[], object]] = [lambda: folder.write("new", b"x" * 100), lambda: folder.remove("new")]
    reads: list[Callable[[], object]] = [
        lambda: folder.read("there"),
        lambda: folder.names(""),
        lambda: folder.open("there"),
    ]
    if fault is not Fault.ANSWER_CUT:  # there is nothing to cut in an answer without content
        for change in changes:
            with pytest.raises(StoreWriteError, match=r"(write|remove) new in s3://.*tried 6 times.*the same command"):
                change()
        with pytest.raises(StoreReadError, match="tried 6 times"):
            folder.num_bytes("there")
    for read in reads:
        with pytest.raises(StoreReadError, match=r"cannot (read|list) .* in s3://.*tried 6 times"):
            read()
    assert (
        {"WARNING", "INFO"} >= {record.levelname for record in caplog.records} >= {"WARNING"}
    )  # a user who waits sees why
    server.script.begin()
    assert folder.num_bytes("new") in ((100, None) if fault in (Fault.ANSWER_LOST, Fault.ANSWER_CUT) else (None,))


def test_a_half_written_file_is_never_seen(folder: ObjectFolder, server: Server) -> None:
    folder.write("name", b"before" * 100)
    server.script.begin(always(Fault.UPLOAD_CUT))
    with pytest.raises(StoreWriteError):
        folder.write("name", b"after!" * 200)
    server.script.begin()
    assert folder.read("name") == b"before" * 100


def test_what_is_changed_on_its_way_is_not_taken(
    folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(monkeypatch, server, attempts=2)
    server.script.begin(always(Fault.UPLOAD_CHANGED))
    with pytest.raises(StoreWriteError, match=r"XAmzContentSHA256Mismatch.*tried 2 times"):
        folder.write("name", b"content")
    assert folder.num_bytes("name") is None


def test_one_attempt_is_one_request_and_a_refusal_is_not_repeated(folder: ObjectFolder, server: Server) -> None:
    folder.write("name", b"1")
    server.script.begin(always(Fault.SLOW_DOWN))
    with pytest.raises(StoreReadError, match=f"tried {store.places.s3.PATIENCE.attempts} times"):
        folder.read("name")
    assert len(server.script.seen) == store.places.s3.PATIENCE.attempts  # neither s3fs nor botocore repeat them as well
    server.script.begin()
    with pytest.raises(StoreMissingError):
        folder.read("gone")
    assert [seen.kind for seen in server.script.seen] == ["GET"]


def test_no_attempt_begins_after_the_time_is_over(
    folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(monkeypatch, server, total_seconds=0)
    server.script.begin(always(Fault.INTERNAL))
    with pytest.raises(StoreReadError, match="tried once"):
        folder.read("name")


@given(st.integers(0, 60))
def test_delays_double_up_to_a_limit(attempt: int) -> None:
    patience = Patience()
    delay = patience.delay(attempt)
    assert delay <= patience.max_delay_seconds
    assert delay == patience.max_delay_seconds or patience.delay(attempt + 1) in (2 * delay, patience.max_delay_seconds)


# Reading


def test_a_small_file_and_the_end_of_a_large_one_are_read_with_one_request(
    folder: ObjectFolder, server: Server
) -> None:
    content = os.urandom(TAIL_BYTES + 1000)
    for name, part in (("small", content[:100]), ("large", content)):
        folder.write(name, part)
        server.script.begin()
        file, ends = folder.open(name), [np.zeros(60, dtype=np.uint8), np.zeros(40, dtype=np.uint8)]
        assert file is not None
        assert file.fill(len(part) - 100, ends)
        assert ends[0].tobytes() + ends[1].tobytes() == part[-100:]
        assert len(server.script.seen) == 1
    assert file is not None
    assert file.fill(0, ends)
    assert ends[0].tobytes() + ends[1].tobytes() == content[:100]
    assert len(server.script.seen) == 2


@pytest.mark.parametrize("change", ["written", "removed"])
def test_two_versions_of_a_file_are_never_mixed(folder: ObjectFolder, change: str) -> None:
    folder.write("name", bytes(2 * TAIL_BYTES))
    file, buffer = folder.open("name"), np.zeros(10, dtype=np.uint8)
    assert file is not None
    if change == "written":
        folder.write("name", b"1" * 2 * TAIL_BYTES)
    else:
        folder.remove("name")
    with pytest.raises(ShardIncompleteError, match="rebuilt, or removed, while it was read: run the same command"):
        file.fill(0, [buffer])


def test_long_listings_and_large_folders(folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.places.objects, "REMOVED_AT_ONCE", 3)
    names = [f"a/{number:02d}" for number in range(8)]
    for name in names:
        folder.write(name, b"1")
        folder.write(f"{name}.d/x", b"1")
    for fault in FAULTS:
        server.script.begin(every_other(fault))
        assert [stored.name for stored in folder.walk("a") if not stored.name.endswith("x")] == names
        assert folder.names("a") == names
        assert folder.folders("a") == [f"{name}.d" for name in names]
    assert len(server.script.seen) > 12
    server.script.begin(lambda number, seen: FAULTS[number // 2 % len(FAULTS)] if number % 2 else None)
    folder.remove_tree("a")
    server.script.begin()
    assert list(folder.walk()) == []


def test_a_removal_that_the_server_refuses_in_part_is_named(
    folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("a/1", b"1")
    ask = store.places.s3.request

    def refuses(operation: str, *before_retry: Callable[[], None], **fields: object) -> object:
        if operation == "delete_objects":
            return {"Errors": [{"Key": f"{folder.prefix}/a/1", "Code": "AccessDenied", "Message": "no"}]}
        return ask(operation, *before_retry, **fields)

    monkeypatch.setattr(store.places.objects, "request", refuses)
    with pytest.raises(StoreWriteError, match=r"cannot remove a/1 in .*AccessDenied: no\. The credentials need"):
        folder.remove_tree("a")


def test_a_run_that_lost_its_claim_removes_and_writes_no_more(
    folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.places.objects, "REMOVED_AT_ONCE", 1)
    ask = store.places.s3.request
    with claimed(folder, "remove", [ANY_STAGE]) as mine:
        for name in ("1", "2", "3"):
            mine.write(f"a/{name}", b"1")

        def remove_and_lose(operation: str, *before_retry: Callable[[], None], **fields: object) -> object:
            answer = ask(operation, *before_retry, **fields)
            if operation == "delete_objects":
                folder.remove(json_name(str(mine.claim)))
            return answer

        monkeypatch.setattr(store.places.objects, "request", remove_and_lose)
        with pytest.raises(ClaimLostError):
            mine.remove_tree("a")
    assert folder.names("a") == ["a/2", "a/3"]


@pytest.mark.parametrize("change", [lambda mine: mine.write("a", b"2"), lambda mine: mine.remove("a")])
def test_a_request_that_is_tried_again_asks_for_the_claim_again(
    change: Callable[[StoreFolder], object], folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder.write("a", b"1")
    sleep = time.sleep
    with claimed(folder, "remove", [ANY_STAGE]) as mine:

        def lose(seconds: float) -> None:
            sleep(seconds)
            server.script.begin()
            folder.remove(json_name(str(mine.claim)))

        server.script.begin(lambda _, seen: Fault.SLOW_DOWN if seen.kind in ("PUT", "DELETE") else None)
        monkeypatch.setattr(time, "sleep", lose)
        with pytest.raises(ClaimLostError):
            change(mine)
    assert folder.read("a") == b"1"


def test_markers_of_folders_are_no_files(folder: ObjectFolder) -> None:
    """Consoles and other programs make empty objects whose names end in a slash."""
    for name in ("", "a/"):
        store.places.s3.request("put_object", Bucket=BUCKET, Key=f"{folder.prefix}/{name}", Body=b"")
    folder.write("a/1", b"1")
    assert [stored.name for stored in folder.walk()] == ["a/1"]
    assert (folder.names(""), folder.names("a"), folder.folders("")) == ([], ["a/1"], ["a"])


def test_a_file_larger_than_one_request_takes_is_refused(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store.places.objects, "MAX_PUT_BYTES", 10)
    with pytest.raises(StoreWriteError, match=r"S3 takes 5 GiB in one request.*smaller --shard-size"):
        folder.write("name", b"x" * 11)


@pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")  # aiohttp's: it is sent in one piece
def test_a_large_file_is_one_request(folder: ObjectFolder, server: Server) -> None:
    content = os.urandom(12 * 2**20)
    server.script.begin()
    folder.write("large", content)
    assert [(seen.kind, seen.num_bytes) for seen in server.script.seen] == [("PUT", len(content))]
    assert folder.read("large") == content


# What a user has to repair


def errors_of(folder: ObjectFolder) -> list[StoreError]:
    calls: list[Callable[[], object]] = [
        lambda: folder.write("name", b"1"),
        lambda: folder.read("name"),
        lambda: folder.names(""),
    ]
    calls += [lambda: folder.num_bytes("name"), lambda: folder.remove("name"), lambda: folder.open("name")]
    errors = []
    for call in calls:
        with pytest.raises(StoreError) as caught:
            call()
        assert SECRET not in str(caught.value)
        errors.append(caught.value)
    return errors


def test_a_missing_bucket(folder: ObjectFolder, reconnected: None) -> None:
    for error in errors_of(replace(folder, bucket="no-such-bucket")):
        if isinstance(error, StorePlaceError):
            assert "there is no bucket 'no-such-bucket'. Make it first" in str(error)


def test_missing_credentials(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch, reconnected: None) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    for error in errors_of(folder):
        assert isinstance(error, StorePlaceError)
        assert "Credentials come from the environment alone: AWS_ACCESS_KEY_ID" in str(error)


def test_a_profile_that_is_not_there(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch, reconnected: None) -> None:
    monkeypatch.setenv("AWS_PROFILE", "nobody")
    for error in errors_of(folder):
        assert isinstance(error, StorePlaceError)
        assert "nobody" in str(error)


def test_an_endpoint_that_is_none(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch, reconnected: None) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "no url")
    for error in errors_of(folder):
        assert "no url" in str(error)


def test_a_server_out_of_reach(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch, reconnected: None) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    for error in errors_of(folder):
        assert isinstance(error, OSError)
        assert re.search("Could not connect.*tried 10 times", str(error))


def test_a_password_in_the_endpoint_is_not_repeated(
    folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch, reconnected: None
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://me:{SECRET}@127.0.0.1:9/?{SECRET}")
    errors_of(folder)


@pytest.mark.parametrize(
    ("code", "kind", "said"),
    [
        ("AccessDenied", (StoreReadError, StoreWriteError), "The credentials need s3:"),
        ("403", (StoreReadError, StoreWriteError), "The credentials need s3:"),
        ("InvalidAccessKeyId", StorePlaceError, "Credentials come from the environment"),
        ("SignatureDoesNotMatch", StorePlaceError, "Credentials come from the environment"),
        ("ExpiredToken", StorePlaceError, "Credentials come from the environment"),
        ("Mystery", (StoreReadError, StoreWriteError), "the server says Mystery"),
    ],
)
def test_a_refusal_says_what_to_do(
    folder: ObjectFolder,
    monkeypatch: pytest.MonkeyPatch,
    code: str,
    kind: type[StoreError] | tuple[type[StoreError], ...],
    said: str,
) -> None:
    def refuse(operation: str, *before_retry: object, **fields: object) -> object:
        raise RequestError(code, f"the server says {code}: no")

    monkeypatch.setattr(store.places.objects, "request", refuse)
    for error in errors_of(folder):
        assert isinstance(error, kind)
        assert said in str(error)
        assert folder.place in str(error)


def test_what_an_answer_without_content_cannot_say_is_asked_for(
    folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(operation: str, *before_retry: object, **fields: object) -> object:
        raise RequestError("400" if operation == "head_object" else "ExpiredToken", "no")

    monkeypatch.setattr(store.places.objects, "request", refuse)
    with pytest.raises(StorePlaceError, match="Credentials come from the environment"):
        folder.num_bytes("name")


def test_a_server_that_knows_no_ranges_is_named(folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    content = bytes(range(256))
    answer = {"Body": content, "ETag": "one", "ContentLength": len(content)}
    monkeypatch.setattr(store.places.objects, "request", lambda operation, **fields: answer)
    file, buffer = folder.open("name"), np.zeros(10, dtype=np.uint8)
    assert file is not None
    assert file.fill(200, [buffer])  # all of it came at once
    assert buffer.tobytes() == content[200:210]
    with pytest.raises(StoreReadError, match=r"asked for 10 bytes, the server gave 256\. It does not support ranges"):
        folder.fetch_range("name", 0, 10, "one")


def test_without_s3fs_the_extra_is_named(
    folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch, reconnected: None
) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StorePlaceError, match=re.escape("pip install 'fda[s3]'")):
        folder.read("name")


def test_what_travels_to_a_worker_holds_no_secret(folder: ObjectFolder) -> None:
    folder.write("name", b"1")
    assert SECRET.encode() not in pickle.dumps(folder)
    assert SECRET not in repr(folder)


def test_a_local_store_never_imports_what_an_object_store_needs(tmp_path: Path) -> None:
    program = (
        "import sys; from store.places.opening import folder_at; import cli.commands.preprocess\n"
        f"folder_at({str(tmp_path)!r}).write('name', b'1')\n"
        "sys.exit(str({'s3fs', 'aiobotocore', 'botocore'} & set(sys.modules) or ''))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""


# Whole runs


def run(data: Path, folder: StoreFolder) -> None:
    """Frames, masks, another mask set, and features that no model made."""
    dataset = read_dataset("jsonl", data)
    there = open_store(dataset, folder, SMALL)[0]
    preprocess_shards(there, VideoSource(dataset.root, decoder=REMEMBERING), plan_preprocess(there, SMALL), SMALL)
    there = Store.open(folder)
    create_mask_set(there, "second", MASKS)
    make_mask_set(there, "second", MASKS, plan_masks(there, "second"))
    create_features(there, "fake", "test", 2, {"made by": "hand"})
    for shard in there.shards("test"):
        if committed(there, shard, features_stage("fake", "video")) is None:
            inputs = input_digests(there, shard, [FRAMES_STAGE, masks_stage("second")])
            outcomes = outcomes_of(there, shard)
            video = np.full((shard.num_rows, 2), shard.start, dtype=np.float32)
            frame = np.zeros((shard.num_rows, SMALL.eval_frames, 2), dtype=np.float32)
            write_clip_features(there, "fake", shard, ClipFeatures(video, frame, outcomes), inputs)
    for shard in caption_shards(there, "test"):
        if committed(there, shard, features_stage("fake", "text")) is None:
            write_text_features(there, "fake", shard, np.ones((shard.num_rows, 2), dtype=np.float32))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_dataset(tmp_path_factory.mktemp("data"), {"test": 1})


@pytest.fixture(scope="module")
def expected(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a run on a local disk makes, undisturbed."""
    folder = folder_at(tmp_path_factory.mktemp("store") / "store")
    run(data, folder)
    return tree(folder)


@pytest.mark.parametrize("first", range(len(FAULTS)))
def test_a_run_of_which_every_request_fails_at_first_ends_like_any_other(
    folder: ObjectFolder, server: Server, data: Path, expected: dict[str, bytes], first: int
) -> None:
    """Over all parameters, each request meets each fault."""
    server.script.begin(lambda number, seen: None if number % 2 else FAULTS[(number // 2 + first) % len(FAULTS)])
    run(data, folder)
    assert len(server.script.seen) > 2 * len(expected)
    server.script.begin()
    assert tree(folder) == expected


def test_a_run_whose_answers_come_too_late_ends_like_any_other(
    folder: ObjectFolder,
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    reconnected: None,
    data: Path,
    expected: dict[str, bytes],
) -> None:
    use_server(monkeypatch, server, read_seconds=IMPATIENT_SECONDS)
    server.script.begin(lambda number, seen: Fault.LATE if number % 20 == 5 else None)
    run(data, folder)
    server.script.begin()
    assert tree(folder) == expected


def test_a_run_that_dies_at_any_write_is_finished_by_the_next(
    folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch, data: Path, expected: dict[str, bytes]
) -> None:
    """Each run dies of its first change that no earlier one died of, and does not know that the server has made it."""
    use_server(monkeypatch, server, attempts=1)
    died_of: set[tuple[str, str]] = set()

    def die(number: int, seen: Seen) -> Fault | None:
        if seen.kind not in ("PUT", "DELETE", "POST") or (seen.kind, seen.path) in died_of:
            return None
        died_of.add((seen.kind, seen.path))
        return Fault.ANSWER_LOST

    for _ in range(100):
        server.script.begin(die)
        try:
            run(data, folder)
            break
        except StoreWriteError:
            continue
    server.script.begin()
    assert tree(folder) == expected
    assert len(died_of) >= len(expected)


def killed_at_put(number: int, pid: Callable[[], int], fault: Fault) -> Callable[[int, Seen], Fault | None]:
    """Kill a process at its n-th PUT, which the server then gets whole, or not at all."""
    counts: Counter[str] = Counter()

    def fault_of(_: int, seen: Seen) -> Fault | None:
        counts[seen.kind] += 1
        if seen.kind == "PUT" and counts["PUT"] == number:
            os.kill(pid(), signal.SIGKILL)
            return fault
        return None

    return fault_of


@pytest.mark.parametrize("fault", [Fault.ANSWER_LOST, Fault.UPLOAD_CUT])
@pytest.mark.parametrize("number", [12, 20])
def test_a_process_killed_at_a_write_is_finished_by_the_next(
    folder: ObjectFolder, server: Server, data: Path, expected: dict[str, bytes], number: int, fault: Fault
) -> None:
    """It is a fork: the child has a connection of its own, though its parent had one."""
    folder.num_bytes("name")
    child = multiprocessing.get_context("fork").Process(target=run, args=(data, folder))
    server.script.begin(killed_at_put(number, lambda: child.pid or 0, fault))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    server.script.begin()
    run(data, folder)
    assert tree(folder) == expected


def test_a_run_that_is_repeated_writes_nothing(folder: ObjectFolder, server: Server, data: Path) -> None:
    run(data, folder)
    server.script.begin()
    run(data, folder)
    assert {seen.kind for seen in server.script.seen} <= {"GET", "HEAD", "LIST"}
