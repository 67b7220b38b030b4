"""Requests to an S3 server: one connection per process, one policy of retries, readable errors.

Credentials, region and endpoint come from the environment, as for every program that uses botocore: AWS_ACCESS_KEY_ID,
AWS_PROFILE, AWS_ENDPOINT_URL, a role of the machine. None of them is written to a store, a task or a message.

By default s3fs repeats a request, and botocore repeats each of these again: up to the product of both. Both are
switched off, and failed requests are repeated here.
"""

# Why by hand. Two libraries were tried on the same faults (tests/store/places/test_objects_*). boto3 with its own
# "standard" retries needs 73 lines instead of 230, and fails 9 of 15 tests in which each request fails once: it repeats
# neither an answer that breaks off while its body is read, nor an upload that the server found damaged. obstore 0.12
# repeats cut bodies of objects, but neither cut listings nor damaged uploads, and a forked child of a process that has
# used it hangs in its first request. Workers are forked here.

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from store.errors import StorePlaceError
from store.remedies import install_extra

_logger = logging.getLogger(__name__)

CONNECTIONS = 64
"""Requests that are sent at a time; further ones wait."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for an answer, and how often to try again.

    Between two attempts it waits a random time of up to `delay_seconds`, which doubles each time up to
    `max_delay_seconds`. This is full jitter: many workers that are refused at once do not return at once.
    """

    attempts: int = 10
    total_seconds: float = 300.0
    """No attempt begins later than this after the first one."""
    delay_seconds: float = 0.2
    max_delay_seconds: float = 20.0
    connect_seconds: float = 10.0
    read_seconds: float = 30.0
    """Timeout for the next byte from the server, once the request is sent."""
    upload_seconds: float = 60.0
    """Timeout for sending the smallest file; larger files get more, at `min_bytes_per_second`."""
    min_bytes_per_second: float = 128 * 1024

    def delay(self, attempt: int) -> float:
        """The most seconds to wait after an attempt, counted from 0.

        >>> [Patience().delay(attempt) for attempt in (0, 1, 2, 9)]
        [0.2, 0.4, 0.8, 20.0]
        """
        return min(self.max_delay_seconds, self.delay_seconds * 2.0**attempt)


PATIENCE = Patience()

_TRY_AGAIN = frozenset(
    {
        *("SlowDown", "RequestLimitExceeded", "Throttling", "ThrottlingException", "RequestThrottled"),
        *("TooManyRequests", "BandwidthLimitExceeded", "OperationAborted", "RequestTimeout"),
        *("IncompleteBody", "BadDigest", "XAmzContentSHA256Mismatch"),  # the body was damaged on its way to the server
    }
)
"""Codes that are not server errors, and are worth another attempt."""
_BAD_CREDENTIALS = frozenset(
    {
        *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "TokenRefreshRequired"),
        *("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"),
        *("TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError"),
    }
)


class RequestError(Exception):
    """A request that failed, and was not or cannot be repeated."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        """The server's code (`NoSuchKey`), or the name of an exception if no answer came."""
        self.reason = reason
        """For people; without credentials."""

    @property
    def is_missing(self) -> bool:
        """Whether there is no such object. If the answer has no body, the bucket may be missing too."""
        return self.code in ("NoSuchKey", "404")

    @property
    def is_denied(self) -> bool:
        """Whether the server knows the user, and denies access."""
        return self.code in ("AccessDenied", "AllAccessDisabled", "403")

    @property
    def is_of_credentials(self) -> bool:
        """Whether there are no credentials, or the server rejects them."""
        return self.code in _BAD_CREDENTIALS


def request(operation: str, before_retry: Callable[[], None] | None = None, /, **fields: Any) -> Mapping[str, Any]:
    """Send one request to S3, and repeat it until it succeeds or `PATIENCE` ends.

    Every request may be repeated: it writes or removes the same each time.

    Args:
        operation: Name of the method of botocore: `put_object`.
        before_retry: Called each time before the request is sent again, which may be minutes later. An error that it
            raises ends the attempts: a run that has lost its claim must not write.
        **fields: Fields of the request.

    Returns:
        The fields of the answer; its body, if there is one, as bytes.

    Raises:
        RequestError: It was rejected, or every attempt failed.
    """
    started = time.monotonic()
    patience, attempt = PATIENCE, 0
    connection = _connection()
    while True:
        try:
            return connection.send(operation, fields, patience)
        except _library_errors() as error:
            code, status, reason = _described(error)
            attempt += 1
            spent = time.monotonic() - started
            if not _may_pass(error, code, status):
                raise RequestError(code, reason) from error
            if attempt >= patience.attempts or spent >= patience.total_seconds:
                tried = f"tried {attempt} times in {spent:.0f} s" if attempt > 1 else "tried once"
                raise RequestError(code, f"{reason} ({tried})") from error
            delay = secrets.SystemRandom().uniform(0, patience.delay(attempt - 1))
            level = logging.INFO if attempt < 4 else logging.WARNING
            _logger.log(level, "%s of %s: %s; trying again", operation, fields.get("Bucket"), reason)
            time.sleep(delay)
            if before_retry is not None:
                before_retry()


def close_connection() -> None:
    """Close this process's connection, if there is one. The next request opens another, from the environment."""
    with _lock:
        connection = _connections.pop(os.getpid(), None)
    if connection is not None:
        connection.close()


def bucket_is_known(bucket: str) -> bool:
    """Whether this process has seen that the bucket exists."""
    return bucket in _connection().known_buckets


def note_bucket(bucket: str) -> None:
    """Remember that the bucket exists."""
    _connection().known_buckets.add(bucket)


class _Connection:
    """The s3fs file system of one process, whose requests run in fsspec's event loop."""

    def __init__(self) -> None:
        try:
            from aiobotocore.session import AioSession
            from fsspec.asyn import get_loop
            from s3fs import S3FileSystem
        except ImportError as error:
            raise StorePlaceError(
                f"a store at s3:// needs s3fs, which is not installed ({error}): {install_extra('s3')}"
            ) from error
        self.known_buckets: set[str] = set()
        self._client: Any = None
        self._loop = get_loop()
        session = AioSession()
        # Nothing here asks when a file was written: to parse these times took two thirds of a long listing.
        session.get_component("response_parser_factory").set_parser_defaults(timestamp_parser=str)
        self._file_system = S3FileSystem(
            session=session,
            asynchronous=True,  # called in the event loop, and closed below, not by the garbage collector
            skip_instance_cache=True,
            use_listings_cache=False,
            config_kwargs={
                "retries": {"total_max_attempts": 1},
                "connect_timeout": PATIENCE.connect_seconds,
                "read_timeout": PATIENCE.read_seconds,
                "max_pool_connections": CONNECTIONS,
                # The signature covers the SHA-256 of the body, so every server detects a body that was damaged on its
                # way. The further checksums of AWS are not sent: other servers do not understand them.
                "s3": {"payload_signing_enabled": True},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            },
        )

    def send(self, operation: str, fields: Mapping[str, Any], patience: Patience) -> Mapping[str, Any]:
        """One attempt."""
        from fsspec.asyn import sync

        answer: Mapping[str, Any] = sync(self._loop, self._send, operation, fields, patience)
        return answer

    async def _send(self, operation: str, fields: Mapping[str, Any], patience: Patience) -> Mapping[str, Any]:
        # Connects at the first request only.
        self._client = await self._file_system.set_session()
        send = getattr(self._client, operation)(**fields)
        if "Body" in fields:  # no other timeout covers a server that stops reading
            num_bytes = len(fields["Body"])
            send = asyncio.wait_for(send, patience.upload_seconds + num_bytes / patience.min_bytes_per_second)
        answer: dict[str, Any] = await send
        if "Body" in answer:
            async with answer["Body"] as body:
                answer["Body"] = await body.read()  # raises if fewer bytes come than the answer declares
        return answer

    def close(self) -> None:
        """Close its sockets."""
        from fsspec.asyn import sync

        sync(self._loop, self._close)

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.close()


_connections: dict[int, _Connection] = {}
"""Process id -> its connection. A forked child must not use that of its parent, whose event loop is not running in the
child, nor close it: the sockets are shared."""
_lock = threading.Lock()


def _connection() -> _Connection:
    with _lock:
        pid = os.getpid()
        if pid not in _connections:
            _connections[pid] = _Connection()
        return _connections[pid]


def _after_fork() -> None:
    global _lock
    _lock = threading.Lock()  # another thread of the parent may have held the lock at the fork


os.register_at_fork(after_in_child=_after_fork)
atexit.register(close_connection)


def _library_errors() -> tuple[type[Exception], ...]:
    """The errors of an attempt. A ValueError is that of an endpoint that is not a URL."""
    from aiohttp import ClientError as ConnectionFailed
    from botocore.exceptions import BotoCoreError, ClientError
    from botocore.parsers import ResponseParserError

    return OSError, ValueError, BotoCoreError, ClientError, ResponseParserError, ConnectionFailed


def _described(error: Exception) -> tuple[str, int, str]:
    """Code, HTTP status (0 if no answer came) and reason of an error."""
    answer = getattr(error, "response", None)
    if isinstance(answer, Mapping):
        code = str(answer.get("Error", {}).get("Code", ""))
        status = int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
        message = str(answer.get("Error", {}).get("Message") or "no reason given").rstrip(".")
        return code, status, _without_secrets(f"the server says {code}: {message}")
    name = type(error).__name__
    return name, 0, _without_secrets(str(error) or name)


def _may_pass(error: Exception, code: str, status: int) -> bool:
    """Whether the same request may succeed later."""
    from aiohttp import ClientError as ConnectionFailed
    from botocore import exceptions
    from botocore.parsers import ResponseParserError

    if status:
        # 501: the server does not have this operation, now or later.
        return code in _TRY_AGAIN or status == 429 or (status >= 500 and status != 501)
    # First, because it is one of botocore's ConnectionErrors: a certificate that is refused once is refused again.
    if isinstance(error, exceptions.SSLError):
        return False
    if type(error) is exceptions.HTTPClientError:  # botocore wraps any error of aiohttp in it
        return isinstance(getattr(error, "kwargs", {}).get("error"), (ConnectionFailed, OSError))
    passing = (exceptions.HTTPClientError, exceptions.ConnectionError, exceptions.IncompleteReadError)
    return isinstance(error, (*passing, ResponseParserError, ConnectionFailed, OSError))


def _without_secrets(text: str) -> str:
    """Text without user and password of URLs, and without their query, which may be a signature.

    >>> _without_secrets('cannot reach "http://me:word@host/bucket?X-Amz-Signature=1f"')
    'cannot reach "http://host/bucket"'
    """
    return re.sub(r"\?[^\s\"']*", "", re.sub(r"//[^/@\s]*@", "//", text))
