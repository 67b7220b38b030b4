"""Stores in an object store: addresses, and what a user has to repair, with no secret in any message."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import store.places.objects
import store.places.s3
from store.errors import StoreError, StorePlaceError, StoreReadError, StoreWriteError
from store.places.objects import ObjectFolder
from store.places.opening import folder_at
from store.places.s3 import RequestError
from store.remedies import install_extra
from tests.s3 import SECRET
from tests.store.objects import folder as folder
from tests.store.objects import reconnected as reconnected

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
    with pytest.raises(StorePlaceError, match=re.escape(install_extra("s3"))):
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
