"""Stores in an object store: each call does what it does on a disk (`test_folders`) when requests fail, each way."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from aiohttp import ServerDisconnectedError
from botocore import exceptions
from botocore.exceptions import ClientError
from botocore.parsers import ResponseParserError

import store.places.objects
import store.places.s3
from store.claims.claim import json_name
from store.claims.holding import ANY_STAGE, claimed
from store.errors import ClaimLostError, ShardIncompleteError, StoreMissingError, StoreReadError, StoreWriteError
from store.places.folder import StoredFile, StoreFolder
from store.places.objects import TAIL_BYTES, ObjectFolder
from store.places.s3 import Patience
from tests.s3 import BUCKET, IMPATIENT_SECONDS, Fault, Seen, Server, use_server
from tests.store.objects import FAULTS
from tests.store.objects import folder as folder
from tests.store.objects import reconnected as reconnected


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
    folder.remove_files(["a/other"])
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


def test_a_group_of_files_is_written_after_the_one_before_it(
    folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(monkeypatch, server, attempts=1)
    server.script.begin(lambda _, seen: Fault.DROPPED if seen.kind == "PUT" and seen.path.endswith("/b") else None)
    with pytest.raises(StoreWriteError):
        folder.write_in_order([{"a": b"1", "b": b"2"}, {"c": b"3"}])
    server.script.begin()
    assert folder.names("") == ["a"]


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


PASSING = (
    *("SlowDown", "RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled", "TooManyRequests"),
    *("BandwidthLimitExceeded", "OperationAborted", "RequestTimeout", "IncompleteBody", "BadDigest"),
    "XAmzContentSHA256Mismatch",
)


def answered(code: str, status: int) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}, "ResponseMetadata": {"HTTPStatusCode": status}}, "x")


@pytest.mark.parametrize(
    ("error", "is_repeated"),
    [
        *((answered(code, 400), True) for code in PASSING),
        *((answered("Another", status), True) for status in (429, 500, 502, 503, 504)),
        *((answered("Another", status), False) for status in (400, 409, 412, 499, 501)),
        (exceptions.IncompleteReadError(actual_bytes=1, expected_bytes=2), True),
        (exceptions.ConnectTimeoutError(endpoint_url="x"), True),
        (exceptions.HTTPClientError(error=ServerDisconnectedError()), True),
        (exceptions.HTTPClientError(error=KeyError("x")), False),
        (exceptions.SSLError(endpoint_url="x", error="x"), False),
        (exceptions.ParamValidationError(report="x"), False),
        (ResponseParserError("not well-formed"), True),
        (ServerDisconnectedError(), True),
        (ConnectionResetError("reset by peer"), True),
        (ValueError("no url"), False),
    ],
    ids=repr,
)
def test_what_may_pass_is_tried_again_and_nothing_else(
    folder: ObjectFolder, monkeypatch: pytest.MonkeyPatch, error: Exception, is_repeated: bool
) -> None:
    """Also what no server here answers, and what other versions of the libraries raise."""
    left = [error]

    def send(*given: object) -> dict[str, bytes]:
        if left:
            raise left.pop()
        return {"Body": b"1"}

    monkeypatch.setattr(store.places.s3._Connection, "send", send)
    if is_repeated:
        assert folder.read("name") == b"1"
    else:
        with pytest.raises(StoreReadError):
            folder.read("name")


def test_no_attempt_begins_after_the_time_is_over(
    folder: ObjectFolder, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_server(monkeypatch, server, total_seconds=0)
    server.script.begin(always(Fault.INTERNAL))
    with pytest.raises(StoreReadError, match="tried once"):
        folder.read("name")


def test_delays_double_up_to_a_limit() -> None:
    patience = Patience()
    limit = patience.max_delay_seconds
    delays = [patience.delay(attempt) for attempt in range(60)]
    assert max(delays) == limit
    assert all(after == min(2 * before, limit) for before, after in pairwise(delays))


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
    names = [f"a/{number:02d}" for number in range(5)]
    inside = names[1:4]
    for name in (*names, *(f"{name}.d/x" for name in inside)):
        folder.write(name, b"1")
    for fault in FAULTS:
        server.script.begin(every_other(fault))
        assert [stored.name for stored in folder.walk("a") if not stored.name.endswith("x")] == names
        assert folder.names("a") == names
        assert folder.folders("a") == [f"{name}.d" for name in inside]
    assert len(server.script.seen) > 12
    monkeypatch.setattr(store.places.objects, "REMOVED_AT_ONCE", 1)
    server.script.begin(lambda number, seen: FAULTS[number // 2 % len(FAULTS)] if number % 2 else None)
    folder.remove_files([stored.name for stored in folder.walk("a")])
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
        folder.remove_files(["a/1"])


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
            mine.remove_files(["a/1", "a/2", "a/3"])
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
