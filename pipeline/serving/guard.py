"""Who may ask, and what browsers are told: the page is for people at this machine, and for no other page.

A page from anywhere can make a browser send requests to this machine. Three things keep it out: the name under which
it asks (Host: a name of its own that it lets point here is not among ours), where the request comes from (Origin and
Sec-Fetch-Site), and headers that forbid it to read or frame what comes back.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serving.options import ServeOptions

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}
_OWN_SITES = {"same-origin", "none"}


class Guard:
    """Refuses requests that do not come from pages of this server, and adds headers to all answers."""

    def __init__(self, app: ASGIApp, options: ServeOptions) -> None:
        self._app, self._is_local = app, options.is_local
        self._names = own_names(options)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope["method"], Headers(scope=scope))

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("cache-control", "private, no-cache")
            await send(message)

        answer = self._app if refusal is None else PlainTextResponse(f"{refusal}\n", 403)
        await answer(scope, receive, send_with_headers)

    def _refusal(self, method: str, headers: Headers) -> str | None:
        """Why a request is refused; None if it is not."""
        host = headers.get("host", "")
        # Two Host headers: a proxy may look at the one, and this at the other.
        if len(headers.getlist("host")) != 1 or not self._is_ours(host):
            return f"fda serve does not answer to the name {host!r:.100}: --allow-host NAME allows it"
        # Browsers send both and pages cannot set them; curl and scripts send neither, and are no other page's.
        site, mode = headers.get("sec-fetch-site", "none"), headers.get("sec-fetch-mode", "navigate")
        is_reading = method in ("GET", "HEAD")
        # A link from elsewhere may open a page here: the page that has the link cannot read what comes.
        if site not in _OWN_SITES and not (is_reading and mode == "navigate"):
            return "pages of other servers may not ask fda serve"
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != host:
            return "pages of other servers may not ask fda serve"
        # Browsers name at least one of the two when they post.
        if not is_reading and origin is None and site != "same-origin":
            return "a request that sends something must come from a page of fda serve"
        return None

    def _is_ours(self, host: str) -> bool:
        name = _name_of(host)
        if name in self._names:
            return True
        # Names can be made to point anywhere, addresses cannot.
        return not self._is_local and _is_address(name)


def own_names(options: ServeOptions) -> frozenset[str]:
    """Names under which the server is asked."""
    names: Iterable[str] = ("localhost", "127.0.0.1", "::1", *options.allowed_hosts)
    if not options.is_local:
        names = (*names, options.host, socket.gethostname())
    return frozenset(name.lower() for name in names)


def _name_of(host: str) -> str:
    """The name in a Host header, without the port.

    >>> _name_of("LocalHost:8765"), _name_of("[::1]:80"), _name_of("127.0.0.1")
    ('localhost', '::1', '127.0.0.1')
    """
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    # `localhost.` is the same name, written in full.
    return host.partition(":")[0].lower().rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
