"""A store in an object store with the S3 protocol: AWS, MinIO, Ceph and others.

There is no rename and there are no folders. A file is written by one PUT, which the server accepts whole or not at all:
it checks the length and the SHA-256 of the body. Slashes in names make folders in listings.

The server must be strongly consistent: what was written is in every read and every listing that begins afterwards. AWS
is since December 2020; so are MinIO and Ceph.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from os import PathLike, fspath
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from store.errors import (
    ClaimLostError,
    ShardRebuiltError,
    StoreError,
    StoreMissingError,
    StorePlaceError,
    StoreReadError,
    StoreWriteError,
)
from store.places.folder import CLAIMS_FOLDER, Content, Scan, StoredFile, StoreFolder, WrittenFile
from store.places.s3 import RequestError, bucket_is_known, note_bucket, request
from store.remedies import RETRY_WRITE, RUN_AGAIN

MAX_PUT_BYTES = 5 * 2**30
"""Limit of S3 for one request."""
TAIL_BYTES = 64 * 1024
"""Bytes of a file's end that are fetched when it is opened: the index of a shard, or all of a small file."""
REMOVED_AT_ONCE = 1000
"""Limit of S3 for the objects that one request removes, or lists."""
MAX_PREFIX_BYTES = 600
"""A key may have 1024 bytes; the names of files in a store are shorter than the remaining 424."""

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_BUCKET = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{1,61}[A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class ObjectFolder(StoreFolder):
    """The keys of a bucket that begin with a prefix."""

    bucket: str
    prefix: str
    """Without slashes at its ends; empty if the store is the whole bucket."""
    claim: str | None = None

    @classmethod
    def at(cls, place: str | PathLike[str]) -> Self:
        """The folder at `s3://bucket/prefix`. No request is sent yet.

        Raises:
            StorePlaceError: It is not such an address. The message never contains what may be a password.
        """
        place = fspath(place)
        scheme = _SCHEME.match(place)
        if scheme is None or scheme[1].lower() not in ("s3", "s3a"):
            raise StorePlaceError(
                f"a store is in a folder or at s3://bucket/prefix, not at {place.partition('://')[0]}://: "
                "give the path where that is mounted, or copy the store"
            )
        bucket, _, prefix = place[scheme.end() :].partition("/")
        if "@" in bucket or ":" in bucket:
            raise StorePlaceError(
                "an s3:// address begins with a bucket and contains no user, password or server: "
                "credentials and AWS_ENDPOINT_URL belong into the environment"
            )
        if not _BUCKET.fullmatch(bucket):
            raise StorePlaceError(f"{bucket!r} is not the name of a bucket: write s3://bucket/prefix")
        return cls(bucket, _checked_prefix(prefix.removesuffix("/")))

    @property
    def place(self) -> str:
        """Its address."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    @property
    def is_local(self) -> bool:
        """See `StoreFolder`."""
        return False

    def claimed_by(self, claim: str | None) -> ObjectFolder:
        """See `StoreFolder`."""
        return replace(self, claim=claim)

    def write(self, name: str, content: Content) -> WrittenFile:
        """See `StoreFolder`. If the answer is lost, it is written again: the bytes are the same."""
        if len(content) > MAX_PUT_BYTES:
            raise StoreWriteError(
                f"cannot write {name} in {self.place}: it has {len(content) / 2**30:.1f} GiB, and S3 takes 5 GiB "
                "in one request. Make the store with a smaller --shard-size"
            )
        self._check_claim()
        try:
            # botocore takes no memoryview.
            request("put_object", self._check_claim, **self._object(name), Body=bytes(content))
        except RequestError as error:
            raise self._write_error("write", name, error) from error
        return WrittenFile.of(name, content)

    def read(self, name: str) -> bytes:
        """See `StoreFolder`."""
        try:
            content: bytes = request("get_object", **self._object(name))["Body"]
        except RequestError as error:
            if error.is_missing:
                raise StoreMissingError(f"{self.place} has no {name}") from error
            raise self._read_error("read", name, error) from error
        return content

    def open(self, name: str) -> ObjectFile | None:
        """See `StoreFolder`."""
        try:
            answer = request("get_object", **self._object(name), Range=f"bytes=-{TAIL_BYTES}")
        except RequestError as error:
            if error.is_missing:
                return None
            if error.code in ("InvalidRange", "416"):  # an empty file has no range
                return ObjectFile(self, name, "", 0, b"")
            raise self._read_error("read", name, error) from error
        tail: bytes = answer["Body"]
        # `bytes 0-99/1000`: the size comes last. A server that ignores ranges sends all of the file, and no such field.
        num_bytes = int(str(answer.get("ContentRange", f"/{len(tail)}")).rsplit("/", 1)[1])
        return ObjectFile(self, name, str(answer["ETag"]), num_bytes, tail)

    def num_bytes(self, name: str) -> int | None:
        """See `StoreFolder`."""
        try:
            return int(request("head_object", **self._object(name))["ContentLength"])
        except RequestError as error:
            self._explain(error)
            if error.is_missing:
                return None
            raise self._read_error("look for", name, error) from error

    def remove(self, name: str) -> None:
        """See `StoreFolder`."""
        self._check_claim()
        try:
            request("delete_object", self._check_claim, **self._object(name))
        except RequestError as error:
            if not error.is_missing:  # AWS does not report it, other servers may
                raise self._write_error("remove", name, error) from error

    def remove_files(self, names: Sequence[str]) -> None:
        """See `StoreFolder`."""
        for start in range(0, len(names), REMOVED_AT_ONCE):
            self._check_claim()
            self._remove_keys([{"Key": self._key(name)} for name in names[start : start + REMOVED_AT_ONCE]])

    def names(self, folder: str) -> list[str]:
        """See `StoreFolder`."""
        pages = self._pages(folder, Delimiter="/")
        return sorted(stored.name for page in pages for stored in self._files_of(page))

    def folders(self, folder: str) -> list[str]:
        """See `StoreFolder`."""
        # With a delimiter, S3 lists each folder once, as a prefix that ends with "/".
        found = (entry["Prefix"] for page in self._pages(folder, Delimiter="/") for entry in page["CommonPrefixes"])
        return sorted(self._name(key.removesuffix("/")) for key in found)

    def walk(self, folder: str = "") -> Iterator[StoredFile]:
        """See `StoreFolder`."""
        for page in self._pages(folder):
            yield from self._files_of(page)

    def scan(self, folder: str = "") -> Scan:
        """See `StoreFolder`."""
        return Scan({stored.name: stored.num_bytes for stored in self.walk(folder)})

    def entries(self, folder: str = "") -> list[str]:
        """See `StoreFolder`."""
        return sorted([*self.names(folder), *self.folders(folder)])

    def remove_partial_files(self) -> list[str]:
        """See `StoreFolder`. There are none: the server discards a file that was sent only in part."""
        return []

    def fetch_range(self, name: str, start: int, stop: int, etag: str) -> bytes:
        """The bytes `[start, stop)` of one version of a file.

        Raises:
            ShardRebuiltError: The file was replaced or removed.
        """
        span = f"bytes={start}-{stop - 1}"
        try:
            content: bytes = request("get_object", **self._object(name), Range=span, IfMatch=etag)["Body"]
        except RequestError as error:
            if error.is_missing or error.code in ("PreconditionFailed", "412"):
                raise ShardRebuiltError(
                    f"{name} in {self.place} was rebuilt, or removed, while it was read: {RUN_AGAIN}"
                ) from error
            raise self._read_error("read", name, error) from error
        if len(content) != stop - start:
            raise StoreReadError(
                f"cannot read {name} in {self.place}: asked for {stop - start} bytes, the server gave {len(content)}. "
                "It does not support ranges: use one with the S3 protocol"
            )
        return content

    def _key(self, name: str) -> str:
        return f"{self.prefix}/{name}" if self.prefix else name

    def _name(self, key: str) -> str:
        return key[len(self.prefix) + 1 :] if self.prefix else key

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self._key(name)}

    def _pages(self, folder: str, **fields: str) -> Iterator[Mapping[str, Any]]:
        """The listing of a folder, page by page. A page that fails is requested again, so nothing is listed twice."""
        following: dict[str, str] = {}
        while True:
            page = self._list_page(folder, {**fields, **following})
            # A page without folders lacks the field.
            yield {"CommonPrefixes": (), **page}
            if not page["IsTruncated"]:
                return
            following = {"ContinuationToken": page["NextContinuationToken"]}

    def _list_page(self, folder: str, fields: Mapping[str, str]) -> Mapping[str, Any]:
        # It ends with a slash: without it, a listing of `test` would have the files of `test2`. Of a whole bucket it is
        # empty.
        prefix = f"{self._key(folder)}/" if folder else f"{self.prefix}/".lstrip("/")
        try:
            page = request("list_objects_v2", Bucket=self.bucket, Prefix=prefix, MaxKeys=REMOVED_AT_ONCE, **fields)
        except RequestError as error:
            raise self._read_error("list", folder or "the files", error) from error
        note_bucket(self.bucket)
        return page

    def _files_of(self, page: Mapping[str, Any]) -> Iterator[StoredFile]:
        for entry in page.get("Contents", ()):
            if not entry["Key"].endswith("/"):  # some programs make a folder as an empty object of such a name
                yield StoredFile(self._name(entry["Key"]), int(entry["Size"]))

    def _remove_keys(self, keys: Sequence[Mapping[str, str]]) -> None:
        try:
            answer = request(
                "delete_objects", self._check_claim, Bucket=self.bucket, Delete={"Objects": keys, "Quiet": True}
            )
        except RequestError as error:
            raise self._write_error("remove", self._name(keys[0]["Key"]), error) from error
        # The answer is a success even if single objects could not be removed; `Quiet` leaves out those that were.
        for failed in answer.get("Errors", ()):
            reason = RequestError(failed.get("Code", ""), f"the server says {failed.get('Code')}: {failed['Message']}")
            raise self._write_error("remove", self._name(failed["Key"]), reason)

    def _check_claim(self) -> None:
        if self.claim is not None and self.num_bytes(f"{CLAIMS_FOLDER}/{self.claim}.json") is None:
            raise ClaimLostError.of(self.place)

    def _explain(self, error: RequestError) -> None:
        """Raise the error behind an answer to HEAD: that the bucket is missing, or a token has expired.

        An answer to HEAD has no body, so its code cannot tell these apart. A listing can; if it succeeds, the bucket
        exists.
        """
        if error.code in ("400", "403") or (error.is_missing and not bucket_is_known(self.bucket)):
            self._list_page("", {})

    def _read_error(self, what: str, name: str, error: RequestError) -> StoreError:
        return self._place_error(error) or StoreReadError(
            f"cannot {what} {name} in {self.place}: {error.reason}. "
            + ("The credentials need s3:GetObject and s3:ListBucket" if error.is_denied else "Run the command again")
        )

    def _write_error(self, what: str, name: str, error: RequestError) -> StoreError:
        denied = "The credentials need s3:PutObject and s3:DeleteObject. "
        return self._place_error(error) or StoreWriteError(
            f"cannot {what} {name} in {self.place}: {error.reason}. {denied if error.is_denied else ''}{RETRY_WRITE}"
        )

    def _place_error(self, error: RequestError) -> StorePlaceError | None:
        """The error if no request to this place could succeed: a missing bucket, or credentials."""
        if error.code == "NoSuchBucket":
            return StorePlaceError(
                f"{self.place}: there is no bucket {self.bucket!r}. Make it first, or check that AWS_ENDPOINT_URL "
                "and AWS_REGION are those of the bucket"
            )
        if error.is_of_credentials:
            return StorePlaceError(
                f"{self.place}: {error.reason}. Credentials come from the environment alone: AWS_ACCESS_KEY_ID and "
                "AWS_SECRET_ACCESS_KEY (with AWS_SESSION_TOKEN if they are temporary), or AWS_PROFILE, or a role of "
                "the machine; for a server other than AWS, set AWS_ENDPOINT_URL"
            )
        return None


class ObjectFile:
    """One version of a file, identified by its ETag."""

    def __init__(self, folder: ObjectFolder, name: str, etag: str, num_bytes: int, tail: bytes) -> None:
        self._folder = folder
        self._name = name
        self._etag = etag
        self._num_bytes = num_bytes
        self._tail = tail
        """Its last bytes."""

    @property
    def num_bytes(self) -> int:
        """Its size."""
        return self._num_bytes

    def fill(self, offset: int, buffers: Sequence[NDArray[np.uint8]]) -> bool:
        """See `OpenFile`: one request for all buffers, or none if they are in the tail that came with the opening.

        Raises:
            ShardRebuiltError: This version is gone.
        """
        stop = offset + sum(map(len, buffers))
        if stop > self._num_bytes:
            return False
        if stop == offset:
            return True
        start_of_tail = self._num_bytes - len(self._tail)
        if offset >= start_of_tail:
            content = self._tail[offset - start_of_tail : stop - start_of_tail]
        else:
            content = self._folder.fetch_range(self._name, offset, stop, self._etag)
        values, start = np.frombuffer(content, dtype=np.uint8), 0
        for buffer in buffers:
            buffer[:] = values[start : start + len(buffer)]
            start += len(buffer)
        return True

    def stamp(self) -> tuple[int, ...] | None:
        """See `OpenFile`."""
        return None


def _checked_prefix(prefix: str) -> str:
    """Return a prefix that is a path of plain parts; any other raises `StorePlaceError`."""
    parts = prefix.split("/") if prefix else []
    if any(part in ("", ".", "..") for part in parts):
        raise StorePlaceError(f"s3:// prefix {prefix!r}: no part may be empty, '.' or '..'")
    if any(letter in "?#" or not letter.isprintable() for letter in prefix):
        raise StorePlaceError(
            f"s3:// prefix {prefix!r}: it must not contain '?', '#' or characters that cannot be printed"
        )
    if len(prefix.encode(errors="replace")) > MAX_PREFIX_BYTES:
        raise StorePlaceError(f"s3:// prefix of {len(prefix)} characters: the limit is {MAX_PREFIX_BYTES} bytes")
    return prefix
