"""The web application: which address gives what."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib import resources
from os import PathLike
from typing import TypeVar

import anyio
import anyio.to_thread
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from encoders.options import ModelSource
from pipeline.errors import InputError, OptionError, PipelineError
from pipeline.run.events import Listener, ignore_events
from pipeline.serving.address import Address
from pipeline.serving.guard import Guard
from pipeline.serving.media.cache import BusyError, MediaCache, Playable
from pipeline.serving.options import ServeOptions
from pipeline.serving.pictures import checked
from pipeline.serving.site import LIST_TYPES, TEMPLATES, Current, NotThereError, Site
from pipeline.serving.uploads import MAX_BYTES
from pipeline.video.clips import VideoError
from pipeline.video.options import Window
from store.errors import NotInStoreError, StoreError

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")

SEARCHES_AT_ONCE, PAGES_AT_ONCE, PICTURES_AT_ONCE, VIDEOS_AT_ONCE = 4, 4, 4, 32
"""Threads for each kind of answer: a search may wait for its model, and must not hold up the others meanwhile."""
_STATIC = {"serve.css": "text/css", "serve.js": "text/javascript", "icon.svg": "image/svg+xml"}
_SENT_BEFORE = {"serve.css": ("pipeline.pages", "style.css"), "serve.js": ("pipeline.serving", "words.js")}
"""File -> the package and name of the template that is sent before it, as one file."""


@dataclass(frozen=True)
class _Server:
    """What the routes share."""

    current: Current
    media: MediaCache
    searches: anyio.CapacityLimiter
    pages: anyio.CapacityLimiter
    pictures: anyio.CapacityLimiter
    videos: anyio.CapacityLimiter

    async def page(self, make: Callable[[Site], str], address: Address | None = None) -> Response:
        """A page, made in a thread; what it shows says whether a search is made for it."""
        # A search may wait seconds for its model: pages that need none have threads of their own.
        limiter = self.searches if address is not None and address.is_search else self.pages
        return HTMLResponse(await anyio.to_thread.run_sync(lambda: make(self.current.site()), limiter=limiter))


def create_app(
    stores: str | PathLike[str] | Sequence[str | PathLike[str]],
    options: ServeOptions | None = None,
    *,
    model: ModelSource | None = None,
    listener: Listener = ignore_events,
) -> Starlette:
    """The pages of `fda serve` as an ASGI application.

    Args:
        stores: One or several.
        options: Which names it answers to, where videos are, how they are converted.
        model: What embeds texts and pictures. Default: what the run that made the features recorded.
        listener: Hears messages.

    Raises:
        StoreMissingError: There is no store.
        StoreFormatError: One cannot be read.
    """
    options = options or ServeOptions()
    places = (stores,) if isinstance(stores, str | PathLike) else tuple(stores)
    if not places:
        raise OptionError("give at least one store")
    current = Current(places, options, model, listener)
    current.site()  # raises what is wrong with a store before anybody asks
    server = _Server(
        current,
        MediaCache(options.conversion),
        anyio.CapacityLimiter(SEARCHES_AT_ONCE),
        anyio.CapacityLimiter(PAGES_AT_ONCE),
        anyio.CapacityLimiter(PICTURES_AT_ONCE),
        anyio.CapacityLimiter(VIDEOS_AT_ONCE),
    )

    def warm() -> None:
        server.media.warm()
        server.current.site().warm()

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        # The server runs here; what follows is done at its end.
        yield
        server.media.close()
        server.current.uploads.close()

    def route(path: str, handler: Callable[[_Server, Request], Awaitable[Response]], method: str = "GET") -> Route:
        return Route(path, _as_endpoint(partial(handler, server)), methods=[method])

    app = Starlette(
        routes=[
            route("/", _search_page),
            route("/video", _video_page),
            route("/panel", _panel),
            route("/facets", _facets),
            route("/list", _list_page),
            route("/list/{kind}", _list_file),
            route("/frame", _frame),
            route("/media/about", _about_media),
            route("/media", _media),
            route("/image", _image),
            route("/image", _take_image, "POST"),
            route("/static/{name}", _static),
        ],
        middleware=[Middleware(Guard, options=options)],
        exception_handlers={
            OptionError: _error_page(400),
            NotThereError: _error_page(404),
            NotInStoreError: _error_page(404),
            InputError: _error_page(400),
            PipelineError: _error_page(500),
            StoreError: _error_page(500),
            404: _error_page(404),
        },
        lifespan=lifespan,
    )
    # Called by `serve` after it has begun to listen: loading a model must not delay the first page.
    app.state.warm = warm
    return app


def _as_endpoint(handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:  # starlette looks whether it is a coroutine function
        return await handler(request)

    return endpoint


def _error_page(status: int) -> Callable[[Request, Exception], Response]:
    def answer(request: Request, error: Exception) -> Response:
        text = "There is no such page." if type(error).__name__ == "HTTPException" else str(error)
        html = TEMPLATES.get_template("error.html").render(title="not found" if status == 404 else "error", text=text)
        return HTMLResponse(html, status)

    return answer


def _address(request: Request) -> Address:
    return Address.parse(request.query_params.multi_items())


async def _search_page(server: _Server, request: Request) -> Response:
    address, num_characters = _address(request), len(request.query_params.get("q", ""))
    return await server.page(lambda site: site.search_page(address, num_characters), address)


async def _video_page(server: _Server, request: Request) -> Response:
    address = _address(request)
    return await server.page(lambda site: site.video_page(address), address)


async def _panel(server: _Server, request: Request) -> Response:
    address = _address(request)
    return await server.page(lambda site: site.panel(address), address)


async def _facets(server: _Server, request: Request) -> Response:
    address = _address(request)
    return await server.page(lambda site: site.facets(address))


async def _list_page(server: _Server, request: Request) -> Response:
    names = request.query_params.getlist("f")
    return await server.page(lambda site: site.list_page(Address(), names))


async def _list_file(server: _Server, request: Request) -> Response:
    kind, names = request.path_params["kind"], request.query_params.getlist("f")
    if kind not in LIST_TYPES:
        raise NotThereError(f"A list is {', '.join(LIST_TYPES)}.")
    text = await anyio.to_thread.run_sync(lambda: server.current.site().list_file(names, kind), limiter=server.pages)
    headers = {"content-disposition": f'attachment; filename="flagged.{kind}"'}
    return Response(text, media_type=LIST_TYPES[kind], headers=headers)


async def _frame(server: _Server, request: Request) -> Response:
    given = request.query_params
    try:
        slots = [int(slot) for slot in given.get("slots", "").split(",")]
        store, side = int(given.get("s", "0")), int(given.get("side", "224"))
        show = "outline" if given.get("show") == "outline" else "dim"
        make = partial(checked, slots=slots, side=side, masks=given.get("masks", ""), show=show)
    except ValueError:
        raise OptionError("a picture has slots=0,1,... and side=PIXELS") from None
    tags = request.headers.get("if-none-match", "")

    def drawn() -> tuple[str, bytes | None]:
        site = server.current.site()
        try:
            asked = make(site.video(store, given.get("id", "")))
        except ValueError as error:
            raise error if isinstance(error, PipelineError) else OptionError(str(error)) from None
        tag = f'"{site.pictures.tag(asked)}"'
        # The tag needs commit records only: a browser that has the picture is answered without reading frames.
        return tag, None if tag in tags else site.pictures.jpeg(asked, tag)

    tag, content = await anyio.to_thread.run_sync(drawn, limiter=server.pictures)
    headers = {"etag": tag, "cache-control": "private, max-age=60"}
    return Response(status_code=304, headers=headers) if content is None else _jpeg(content, headers)


def _jpeg(content: bytes, headers: Mapping[str, str]) -> Response:
    return Response(content, media_type="image/jpeg", headers=headers)


async def _playable(server: _Server, request: Request) -> Playable:
    """The file of a video that plays.

    Raises:
        VideoError: It is not there, or cannot be played.
        BusyError: Too many are asked for.
    """
    given = request.query_params

    def make() -> Playable:
        site = server.current.site()
        # Of anything but a few digits int() would raise, here where no caller expects it.
        number = given.get("s", "0")
        key = site.video(int(number) if number.isdecimal() and len(number) < 4 else -1, given.get("id", ""))
        shelf = site.library.shelves[key.store]
        path = shelf.file(key)
        if path is None:
            raise NotThereError(shelf.where_looked(key))
        return server.media.playable(path, Window(*shelf.window(key)))

    return await anyio.to_thread.run_sync(make, limiter=server.videos)


async def _about_media(server: _Server, request: Request) -> Response:
    """How a video plays, once it can: answered with what is wrong where it cannot."""
    try:
        playable = await _playable(server, request)
    except (VideoError, NotThereError) as error:
        return JSONResponse({"problem": str(error)})
    except BusyError:
        return JSONResponse({"problem": "Many videos are being made playable: try again in a moment.", "busy": True})
    prepared = playable.prepared
    return JSONResponse(
        {
            "url": f"/media?{request.url.query}",
            "type": prepared.content_type,
            "offset": prepared.offset_seconds,
            "way": str(prepared.way),
            "note": prepared.note,
        }
    )


async def _media(server: _Server, request: Request) -> Response:
    """The bytes of a video, or a range of them."""
    try:
        playable = await _playable(server, request)
        facts = await anyio.to_thread.run_sync(playable.path.stat, limiter=server.videos)
    except (VideoError, OSError) as error:
        raise NotThereError(str(error)) from None
    except BusyError:
        return Response("busy\n", 503, headers={"retry-after": "2"}, media_type="text/plain")
    response = FileResponse(
        playable.path,
        stat_result=facts,
        media_type=playable.prepared.content_type,
        # Asked for again each time, by tag: the address may have another video by now.
        headers={"cache-control": "private, no-cache"},
    )
    # `FileResponse` answers ranges, which players need to seek, but not conditional requests.
    if response.headers["etag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers={"etag": response.headers["etag"]})
    return response


async def _image(server: _Server, request: Request) -> Response:
    found = server.current.uploads.find(request.query_params.get("d", ""))
    if found is None:
        raise NotThereError("This picture is not on the server any more.")
    return FileResponse(found[0], media_type=found[1])


async def _take_image(server: _Server, request: Request) -> Response:
    content = bytearray()
    async for part in request.stream():
        content += part
        if len(content) > MAX_BYTES:
            # While it arrives: Content-Length may be missing or untrue.
            return JSONResponse({"problem": f"the picture has more than {MAX_BYTES >> 20} MiB"}, 413)
    try:
        add = partial(server.current.uploads.add, bytes(content))
        digest = await anyio.to_thread.run_sync(add, limiter=server.pictures)
    except InputError as error:
        return JSONResponse({"problem": str(error)})
    return JSONResponse({"image": digest})


async def _static(server: _Server, request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _STATIC:
        raise NotThereError("There is no such file.")
    content = _static_content(name)
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=_STATIC[name], headers=headers)


def _static_content(name: str) -> bytes:
    names = [("pipeline.serving", name)]
    if name in _SENT_BEFORE:
        names.insert(0, _SENT_BEFORE[name])
    return b"\n".join(resources.files(package).joinpath("templates", file).read_bytes() for package, file in names)
