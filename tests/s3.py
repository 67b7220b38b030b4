"""An S3 server in a process of its own, and a proxy before it that injects faults.

`python -m tests.s3` is the server: moto, made to check what AWS checks and moto does not, that what came is whole.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import store.places.s3
from store.places.folder import StoreFolder
from store.places.s3 import Patience, close_connection, request

BUCKET = "fda-tests"
SECRET = "a-word-that-nobody-may-print"
QUICK = Patience(delay_seconds=0.001, max_delay_seconds=0.004)
"""In place of `PATIENCE`: it tries again at once."""
IMPATIENT_SECONDS, LATE_SECONDS = 0.2, 0.5
"""What a test of `Fault.LATE` waits for an answer, and when that comes."""


class Fault(StrEnum):
    """What happens to one request."""

    DROPPED = "the connection breaks before the request reaches the server"
    ANSWER_LOST = "the connection breaks after the server has done what it was asked to"
    SLOW_DOWN = "503 SlowDown"
    INTERNAL = "500 InternalError"
    UPLOAD_CUT = "half of what is sent reaches the server"
    UPLOAD_CHANGED = "one byte of what is sent is another when it reaches the server"
    ANSWER_CUT = "half of the answer comes back"
    LATE = "the answer comes after the client has given up"


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came."""

    method: str
    path: str
    """With the query."""
    num_bytes: int

    @property
    def kind(self) -> str:
        """PUT, GET, HEAD, DELETE, LIST or POST."""
        return "LIST" if "list-type=2" in self.path else self.method


@dataclass
class Script:
    """Which fault each request meets, and what was asked. One request after the other is counted, from 0."""

    fault_of: Callable[[int, Seen], Fault | None] = lambda number, seen: None
    seen: list[Seen] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self, seen: Seen) -> Fault | None:
        with self.lock:
            self.seen.append(seen)
            return self.fault_of(len(self.seen) - 1, seen)

    def begin(self, fault_of: Callable[[int, Seen], Fault | None] = lambda number, seen: None) -> None:
        """Count from 0 again, with other faults."""
        with self.lock:
            self.seen.clear()
            self.fault_of = fault_of


class Proxy(ThreadingHTTPServer):
    """Hands requests on to the server, but for those that its script spoils."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.backend_port = port
        self.script = script

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news."""


class _ProxyHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # an answer is two writes: the second would wait 40 ms for the first
    server: Proxy
    _backend: http.client.HTTPConnection | None = None

    def log_message(self, *args: Any) -> None:
        """Print nothing."""

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.script.next_fault(Seen(self.command, self.path, len(body)))
        match fault:
            case Fault.DROPPED:
                self._hang_up()
            case Fault.SLOW_DOWN:
                self._refuse(503, "SlowDown", "Please reduce your request rate.")
            case Fault.INTERNAL:
                self._refuse(500, "InternalError", "We encountered an internal error. Please try again.")
            case Fault.UPLOAD_CUT:
                self._cut_upload(body)
                self._hang_up()
            case Fault.UPLOAD_CHANGED:
                self._send(*self._ask_server(body[:-1] + bytes([body[-1] ^ 1]) if body else body))
            case Fault.ANSWER_LOST:
                self._ask_server(body)
                self._hang_up()
            case Fault.LATE:
                self._ask_server(body)
                time.sleep(LATE_SECONDS)
                self._hang_up()
            case Fault.ANSWER_CUT:
                status, headers, content = self._ask_server(body)
                self._send(status, headers, content, len(content) // 2)
                self._hang_up()
            case None:
                self._send(*self._ask_server(body))

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815

    def _ask_server(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        if self._backend is None:
            self._backend = http.client.HTTPConnection("127.0.0.1", self.server.backend_port)
        self._backend.request(self.command, self.path, body, dict(self.headers))
        answer = self._backend.getresponse()
        content = answer.read()
        left_out = ("connection", "date", "server")  # moto names two servers
        return answer.status, [one for one in answer.getheaders() if one[0].lower() not in left_out], content

    def finish(self) -> None:
        if self._backend is not None:
            self._backend.close()
        super().finish()

    def _cut_upload(self, body: bytes) -> None:
        head = f"{self.command} {self.path} HTTP/1.1\r\n{self.headers.as_string().strip()}\r\n\r\n"
        with socket.create_connection(("127.0.0.1", self.server.backend_port)) as backend:
            backend.sendall(head.replace("\r\n", "\n").replace("\n", "\r\n").encode() + body[: len(body) // 2])
            backend.shutdown(socket.SHUT_WR)
            while backend.recv(4096):
                pass

    def _send(self, status: int, headers: list[tuple[str, str]], content: bytes, num_sent: int | None = None) -> None:
        self.send_response_only(status)
        for key, value in headers:
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(content[:num_sent])

    def _refuse(self, status: int, code: str, message: str) -> None:
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()
        self._send(status, [("Content-Length", str(len(body)))], b"" if self.command == "HEAD" else body)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.wfile.flush()
        self.connection.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True)
class Server:
    """The server, and the proxy before it."""

    url: str
    proxy: Proxy

    @property
    def script(self) -> Script:
        return self.proxy.script


@contextmanager
def running_server() -> Iterator[Server]:
    """Start the two, and make the bucket."""
    command = [sys.executable, "-m", "tests.s3"]
    root = Path(__file__).parents[1]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root, text=True) as process:
        assert process.stdout is not None
        proxy = Proxy(int(process.stdout.readline()), Script())
        thread = threading.Thread(target=proxy.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield Server(f"http://127.0.0.1:{proxy.backend_port}", proxy)
        finally:
            proxy.shutdown()
            proxy.server_close()
            thread.join()
            process.send_signal(signal.SIGKILL)


def environment(url: str) -> dict[str, str]:
    """What a user sets, and nothing of what this machine has set."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tester",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    }


@pytest.fixture(scope="session")
def server() -> Iterator[Server]:
    """One for all tests, with the bucket."""
    with running_server() as running, pytest.MonkeyPatch.context() as patch:
        use_server(patch, running)
        request("create_bucket", Bucket=BUCKET)
        close_connection()
        yield running
        close_connection()


def use_server(monkeypatch: pytest.MonkeyPatch, server: Server, **changes: Any) -> None:
    """Let this process, and those it starts, speak to the server through the proxy; `changes` are to `QUICK`."""
    for key in [key for key in os.environ if key.startswith(("AWS_", "FSSPEC_"))]:
        monkeypatch.delenv(key)
    for key, value in environment(server.proxy.url).items():
        monkeypatch.setenv(key, value)
    monkeypatch.setattr(store.places.s3, "PATIENCE", replace(QUICK, **changes))
    server.script.begin()


def place_of(request: pytest.FixtureRequest) -> str:
    """An address that only this test uses."""
    digest = hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:16]
    return f"s3://{BUCKET}/{digest}"


def tree(folder: StoreFolder, leave_out: Iterable[str] = ("runs", "claims")) -> dict[str, bytes]:
    """Every file of a store with its bytes."""
    skipped = set(leave_out)
    return {
        stored.name: folder.read(stored.name) for stored in folder.walk() if stored.name.split("/")[0] not in skipped
    }


class _Strict:
    """Refuses what did not come whole, as AWS does: moto would keep it."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        num_bytes = int(environ.get("CONTENT_LENGTH") or 0)
        try:
            body = environ["wsgi.input"].read(num_bytes) if num_bytes else b""
        except OSError:
            body = b""
        if len(body) != num_bytes or environ["HTTP_X_AMZ_CONTENT_SHA256"] != hashlib.sha256(body).hexdigest():
            code = "IncompleteBody" if len(body) != num_bytes else "XAmzContentSHA256Mismatch"
            answer = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>damaged</Message></Error>".encode()
            start_response("400 Bad Request", [("Content-Length", str(len(answer))), ("Connection", "close")])
            return [answer]
        environ["wsgi.input"] = io.BytesIO(body)
        return self._application(environ, start_response)


def _serve() -> None:
    """Be the server, until killed; print the port first."""
    from moto.moto_server.werkzeug_app import create_backend_app
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def log(self, *args: object) -> None:
            """Print nothing."""

    # Only S3: moto's dispatcher looks at a hundred folders to find out for which service each request is.
    application = _Strict(create_backend_app("s3"))
    server = make_server("127.0.0.1", 0, application, threaded=True, request_handler=Handler)
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
