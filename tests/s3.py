"""An S3 server in a process of its own, and a proxy before it that injects faults.

`python -m tests.s3` is the server: moto, made to check what AWS checks and moto does not, that what came is whole.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest

import store.places.s3
from store.places.folder import StoreFolder
from store.places.objects import ObjectFolder
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


def read_head(file: io.BufferedIOBase) -> bytes:
    """The first line of a message of HTTP and its headers, with the empty line after them; b"" if there is none."""
    lines = []
    while line := file.readline():
        lines.append(line)
        if line == b"\r\n":
            return b"".join(lines)
    return b""


def num_bytes_after(head: bytes) -> int:
    """Length of the body that a message declares. No client or server here sends one in chunks."""
    declared = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
    return int(declared[1]) if declared else 0


class Proxy(ThreadingTCPServer):
    """Hands requests on to the server, byte for byte, but for those that its script spoils."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

    def __init__(self, port: int, script: Script) -> None:
        super().__init__(("127.0.0.1", 0), _ProxyHandler)
        self.backend_port = port
        self.script = script

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that has gone is no news."""


class _ProxyHandler(StreamRequestHandler):
    """One connection of a client, with one to the server."""

    disable_nagle_algorithm = True
    server: Proxy

    def handle(self) -> None:
        with (
            socket.create_connection(("127.0.0.1", self.server.backend_port)) as self._backend,
            self._backend.makefile("rb") as self._answers,
        ):
            while head := read_head(self.rfile):
                if b"\r\nexpect: 100-continue\r\n" in head.lower():
                    self.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                if not self._pass_on(head, self.rfile.read(num_bytes_after(head))):
                    return

    def _pass_on(self, head: bytes, body: bytes) -> bool:
        """Answer a request; return whether the connection is still open."""
        method, path, _ = head.split(b"\r\n", 1)[0].decode("ascii").split(" ")
        fault = self.server.script.next_fault(Seen(method, path, len(body)))
        match fault:
            case Fault.DROPPED:
                pass
            case Fault.SLOW_DOWN:
                return self._refuse(method, "503 Slow Down", "SlowDown", "Please reduce your request rate.")
            case Fault.INTERNAL:
                message = "We encountered an internal error. Please try again."
                return self._refuse(method, "500 Internal Server Error", "InternalError", message)
            case Fault.UPLOAD_CUT:
                self._backend.sendall(head + body[: len(body) // 2])
                self._backend.shutdown(socket.SHUT_WR)
                self._answers.read()
            case Fault.UPLOAD_CHANGED:
                return self._send(*self._ask_server(method, head, body[:-1] + bytes([body[-1] ^ 1]) if body else body))
            case Fault.ANSWER_LOST:
                self._ask_server(method, head, body)
            case Fault.LATE:
                self._ask_server(method, head, body)
                time.sleep(LATE_SECONDS)
            case Fault.ANSWER_CUT:
                head, content = self._ask_server(method, head, body)
                self._send(head, content[: len(content) // 2])
            case None:
                return self._send(*self._ask_server(method, head, body))
        self.connection.shutdown(socket.SHUT_RDWR)
        return False

    def _ask_server(self, method: str, head: bytes, body: bytes) -> tuple[bytes, bytes]:
        """Head and body of its answer."""
        self._backend.sendall(head + body)
        answer = read_head(self._answers)
        return answer, b"" if method == "HEAD" else self._answers.read(num_bytes_after(answer))

    def _send(self, head: bytes, content: bytes) -> bool:
        self.wfile.write(head + content)  # one write, one packet
        return True

    def _refuse(self, method: str, status: str, code: str, message: str) -> bool:
        body = error_page(code, message)
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
        return self._send(head.encode(), b"" if method == "HEAD" else body)


def error_page(code: str, message: str) -> bytes:
    """What S3 says of a request that it refuses."""
    return f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


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
    root, environ = Path(__file__).parents[1], {**os.environ, "MOTO_DISABLE_GLOBAL_CORS": "true"}  # no browser asks it
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd=root, env=environ, text=True
    ) as process:
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


def tree(folder: StoreFolder, leave_out: Collection[str] = ("runs", "claims")) -> dict[str, str]:
    """Name -> MD5 of each file of a store: S3 gives it as the ETag, in one listing."""
    if isinstance(folder, ObjectFolder):
        prefix = f"{folder.prefix}/"
        page = request("list_objects_v2", Bucket=folder.bucket, Prefix=prefix)
        assert not page["IsTruncated"]
        found = {one["Key"].removeprefix(prefix): one["ETag"].strip('"') for one in page.get("Contents", ())}
    else:
        found = {stored.name: hashlib.md5(folder.read(stored.name)).hexdigest() for stored in folder.walk()}
    return {name: digest for name, digest in found.items() if name.split("/")[0] not in leave_out}


class _MotoHandler(StreamRequestHandler):
    """One connection to moto, kept open: werkzeug, which moto brings, closes it after each answer and waits 10 ms.

    What did not come whole is refused, as AWS does: moto would keep it.
    """

    disable_nagle_algorithm = True
    server: _MotoServer

    def handle(self) -> None:
        while head := read_head(self.rfile):
            num_bytes = num_bytes_after(head)
            body = self.rfile.read(num_bytes)
            environ = self._environ(head, body)
            if len(body) == num_bytes and environ["HTTP_X_AMZ_CONTENT_SHA256"] == hashlib.sha256(body).hexdigest():
                self.wfile.write(self._answer(environ))
                continue
            page = error_page("IncompleteBody" if len(body) < num_bytes else "XAmzContentSHA256Mismatch", "damaged")
            self.wfile.write(f"HTTP/1.1 400 Bad Request\r\nContent-Length: {len(page)}\r\n\r\n".encode() + page)

    def _answer(self, environ: dict[str, Any]) -> bytes:
        lines: list[str] = []

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: object = None) -> None:
            lines[:] = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers)]

        parts = self.server.application(environ, start_response)
        content = b"".join(parts)
        if not any(line.lower().startswith("content-length:") for line in lines):
            lines.append(f"Content-Length: {len(content)}")
        return "\r\n".join([*lines, "\r\n"]).encode("latin-1") + content

    def _environ(self, head: bytes, body: bytes) -> dict[str, Any]:
        """A request as WSGI has it."""
        first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        method, target, protocol = first.split(" ")
        path, _, query = target.partition("?")
        environ: dict[str, Any] = {
            "REQUEST_METHOD": method,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "RAW_URI": target,
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_NAME": "127.0.0.1",
            "SERVER_PORT": str(self.server.server_address[1]),
            "SERVER_PROTOCOL": protocol,
            "wsgi.version": (1, 0),
            "wsgi.url_scheme": "http",
            "wsgi.input": io.BytesIO(body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        for line in lines:
            name, _, value = line.partition(":")
            name = name.upper().replace("-", "_")
            environ[name if name in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{name}"] = value.strip()
        return environ


class _MotoServer(ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self) -> None:
        from moto.moto_server.werkzeug_app import create_backend_app

        super().__init__(("127.0.0.1", 0), _MotoHandler)
        # Only S3: moto's dispatcher looks at a hundred folders to find out for which service each request is.
        self.application = create_backend_app("s3")
        self.application.debug = False


def _serve() -> None:
    """Be the server, until killed; print the port first."""
    server = _MotoServer()
    print(server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    _serve()
