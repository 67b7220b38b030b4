"""`fda serve`, as one function."""

from __future__ import annotations

import errno
import socket
import threading
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from os import PathLike

import uvicorn

from encoders.options import ModelSource
from pipeline.errors import PipelineError
from pipeline.run.events import Listener, Reporter, ignore_events
from pipeline.run.fields import check_kinds
from pipeline.run.records import RunClock
from pipeline.serving.app import create_app
from pipeline.serving.options import LOOPBACK, ServeOptions
from store.json_values import JSON

_MAX_HEADER_BYTES = 256 << 10
"""Of a request: a query of 10,000 characters has up to 90,000 bytes in an address."""
_END_SECONDS = 2
"""How long answers may go on after Ctrl-C."""


class PortError(PipelineError, OSError):
    """The server cannot listen there."""


@dataclass(frozen=True, slots=True)
class ServeResult:
    """What a server did, once it has ended."""

    url: str
    seconds: float
    num_requests: int
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "url": self.url,
            "seconds": round(self.seconds, 3),
            "num_requests": self.num_requests,
            "warnings": list(self.warnings),
        }


def serve(
    stores: str | PathLike[str] | Sequence[str | PathLike[str]],
    options: ServeOptions | None = None,
    *,
    model: ModelSource | None = None,
    listener: Listener = ignore_events,
) -> ServeResult:
    """Search and look at stores in a browser, until Ctrl-C. Reads the stores, and changes nothing in them.

    Args:
        stores: One or several.
        options: Where to serve, and what.
        model: What embeds texts and pictures. Default: what the run that made the features recorded.
        listener: Hears the address, and warnings.

    Raises:
        StoreMissingError: There is no store.
        PortError: The port is in use, or may not be used.
    """
    clock, options, report = RunClock(), options or ServeOptions(), Reporter(listener)
    check_kinds(options=(options, ServeOptions))
    app = create_app(stores, options, model=model, listener=report.hear)
    with _listening(options) as listening:
        host, port = listening.getsockname()[:2]
        url = f"http://{_shown(options.host, host)}:{port}/"
        if not options.is_local:
            report.warn(
                f"everybody who reaches {url} can see these videos and captions: there is no password. Leave --host "
                "out to serve this machine alone"
            )
        report.say(f"fda serve is at {url} (Ctrl-C ends it)")
        config = uvicorn.Config(
            app,
            # Not httptools, which uvicorn prefers where it is installed: only h11 has a limit of header bytes to set.
            http="h11",
            ws="none",
            h11_max_incomplete_event_size=_MAX_HEADER_BYTES,
            # The command line prints its own lines; uvicorn would set up logging of the whole program.
            log_config=None,
            access_log=False,
            server_header=False,
            # Anybody could claim to be another address by X-Forwarded-For.
            proxy_headers=False,
            timeout_graceful_shutdown=_END_SECONDS,
        )
        server = uvicorn.Server(config)
        # A daemon: Ctrl-C must not wait until a model has loaded.
        threading.Thread(target=app.state.warm, daemon=True).start()
        if options.open_browser:
            threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()
        with suppress(KeyboardInterrupt):  # the usual end
            server.run(sockets=[listening])
    return ServeResult(url, clock.seconds, server.server_state.total_requests, report.warnings)


def _listening(options: ServeOptions) -> socket.socket:
    """A socket that listens.

    Raises:
        PortError: It cannot.
    """
    host, port = options.host, options.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        # Or a server could not start again for a minute while connections of the last one are in TIME_WAIT.
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        if error.errno == errno.EADDRINUSE:
            raise PortError(
                f"port {port} of {host} is in use: --port N takes another one, --port 0 any that is free"
            ) from error
        if error.errno == errno.EACCES:
            raise PortError(f"port {port} may not be used here: --port N takes another one, above 1023") from error
        raise PortError(f"cannot listen at {host}:{port}: {error.strerror or error}") from error
    return listening


def _shown(asked: str, bound: str) -> str:
    """The name of this machine in an address."""
    if asked in LOOPBACK:
        return "[::1]" if ":" in bound else ("localhost" if asked == "localhost" else "127.0.0.1")
    name = socket.gethostname() if bound in ("0.0.0.0", "::") else bound  # to compare with
    return f"[{name}]" if ":" in name else name
