"""Claims as files and as values, the processes that they name, and files that are not as they should be."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from store.claims import processes
from store.claims.claim import why_excluded, write_beat, write_claim
from store.claims.holding import ANY_STAGE, Claim, claimed, claims_on
from store.claims.processes import ProcessId, is_running, this_process
from store.errors import StoreBusyError, StoreReadError, StoreWriteError
from store.json_values import JSON
from store.places.folder import StoreFolder
from tests.claimants import NEVER
from tests.store.claiming import Simulated, claim_of, take
from tests.store.claiming import folder as folder

# Files that are not as they should be


def not_claims() -> Iterator[tuple[str, bytes]]:
    fields = claim_of().to_dict()
    yield "empty", b""
    yield "cut off", json.dumps(fields).encode()[:-9]
    yield "not text", b"\xff" * 20
    yield "a list", b"[]"
    yield "deep", b"[" * 10_000
    yield "large", b" " * 20_000
    yield "another's", json.dumps(fields).encode()
    changes: list[dict[str, JSON]] = [
        {"pid": "1"},
        {"pid": -1},
        {"stages": []},
        {"stages": "a"},
        {"user": "\x1b[2J"},
        {"started": "now"},
    ]
    for change in changes:
        yield str(change), json.dumps({**fields, "id": "a" * 32, **change}).encode()


@pytest.mark.parametrize("content", [pytest.param(content, id=name) for name, content in not_claims()])
def test_a_damaged_claim_is_named_and_respected_until_it_has_been_silent(folder: StoreFolder, content: bytes) -> None:
    folder.write(f"claims/{'a' * 32}.json", content)
    (claim,) = claims_on(folder)
    assert claim.is_damaged
    assert str(claim) == f"an unknown run, as its claim claims/{'a' * 32}.json is damaged"
    beating = Simulated(lambda: write_beat(folder, "a" * 32, beating.num_sleeps))
    with pytest.raises(StoreBusyError, match="an unknown run"):
        take(folder, beating.times)
    watching = Simulated()
    take(folder, watching.times)
    assert 30 <= watching.now < 32
    assert claims_on(folder) == ()


def test_a_claim_that_may_not_be_read_is_not_taken_for_dead(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_claim(folder, claim_of())

    ask = os.open

    def refuses(path: str | Path, flags: int) -> int:
        if str(path).endswith(".json"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return ask(path, flags)

    monkeypatch.setattr(os, "open", refuses)
    with pytest.raises(StoreReadError, match=r"cannot read claims/[0-9a-f]{32}\.json in .*: this user may not"):
        take(folder, Simulated().times)
    assert len(folder.names("claims")) == 1


def test_a_store_that_cannot_be_written_to_is_not_claimed(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(path: Path, target: Path) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "replace", read_only)
    with pytest.raises(StoreWriteError, match=r"cannot write claims/.*Read-only file system"):
        take(folder)
    assert [*folder.walk()] == []
    assert caplog.records == []


def test_a_claim_that_cannot_be_given_back_is_told_of_and_hides_no_error(
    folder: StoreFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def read_only(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with pytest.raises(ZeroDivisionError), claimed(folder, "fda masks", ["frames"], times=NEVER):  # noqa: PT012
        monkeypatch.setattr(Path, "unlink", read_only)
        raise ZeroDivisionError
    assert "the claim of this run stays until the next run finds that this one has ended" in caplog.text


def test_where_the_claims_should_be_there_is_a_file(folder: StoreFolder) -> None:
    folder.write("claims", b"")
    with pytest.raises(StoreReadError, match="cannot list claims in .*: claims is a file, and not the folder"):
        take(folder)


# Claims as values

STAGES = st.lists(st.sampled_from(["frames", "masks/a", ANY_STAGE]), min_size=1, max_size=2)
PARTITIONS = st.sampled_from([None, "1/2", "2/2", "01/2", "1/3"])
CLAIMS = st.builds(
    lambda stages, partition, inputs, command: claim_of(stages, partition=partition, inputs=inputs, command=command),
    STAGES,
    PARTITIONS,
    st.sampled_from(["", "f00d"]),
    st.sampled_from(["fda masks", "fda encode"]),
)


@given(CLAIMS, CLAIMS)
def test_who_excludes_whom(one: Claim, other: Claim) -> None:
    is_excluded = why_excluded(one, other) is not None
    assert is_excluded == (why_excluded(other, one) is not None)
    overlaps = ANY_STAGE in one.stages + other.stages or bool({*one.stages} & {*other.stages})
    same_job = (one.command, {*one.stages}, one.inputs) == (other.command, {*other.stages}, other.inputs)
    assert is_excluded or not overlaps or (same_job and {one.partition, other.partition} in PARTS_OF_TWO)
    assert not is_excluded or overlaps
    assert why_excluded(one, one) is not None


PARTS_OF_TWO = [{"1/2", "2/2"}, {"01/2", "2/2"}]


@given(CLAIMS)
def test_a_claim_is_what_its_file_says(claim: Claim) -> None:
    assert Claim.from_dict(json.loads(json.dumps(claim.to_dict()))) == claim


@pytest.mark.parametrize("partition", ["", "1", "a/b", "1/2/3", "-1/2"])
def test_a_partition_is_one_part_of_several(partition: str) -> None:
    with pytest.raises(ValueError, match=f"partition {partition!r}: write i/n"):
        claim_of(partition=partition)


# Processes


def test_a_process_is_running_until_it_has_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    start_of_child = int(Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()[19])
    process = ProcessId(child.pid, start_of_child, processes.this_machine())
    assert is_running(process) is True
    assert is_running(replace(process, started=start_of_child - 1)) is False  # an earlier one of the same number
    assert is_running(replace(process, machine="another")) is None
    assert is_running(replace(process, machine="")) is None
    os.kill(child.pid, signal.SIGSTOP)
    assert is_running(process) is True
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert is_running(process) is False
    child.communicate()
    assert is_running(process) is False


def test_a_process_of_another_user_that_may_not_be_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuses)
    assert is_running(this_process()) is True
    hidden = replace(this_process(), pid=2**30)  # /proc does not show it, and yet there is one
    assert is_running(hidden) is None
