"""Hostile videos: no file but the video is opened, and no server is asked."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import struct
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import pytest

from store.completion import outcomes_of
from store.store import Store
from tests.clips_on_disk import SMALL_FLAGS, Commands, record, write_clip, write_manifest

needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="opens are watched by inotify")


class Opens:
    """Says whether watched files were opened, by whatever process and library."""

    def __init__(self, paths: list[Path]) -> None:
        self._libc = ctypes.CDLL(ctypes.util.find_library("c"), use_errno=True)
        self._inotify = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        in_open = 0x20
        self._path_of = {
            self._libc.inotify_add_watch(self._inotify, os.fsencode(path), in_open): path for path in paths
        }
        assert -1 not in self._path_of

    def opened(self) -> set[Path]:
        """Those opened since the last call."""
        found = set()
        with suppress(BlockingIOError):
            while content := os.read(self._inotify, 65536):
                while content:
                    watch, _, _, num_bytes = struct.unpack_from("iIII", content)
                    found.add(self._path_of[watch])
                    content = content[16 + num_bytes :]
        return found

    def close(self) -> None:
        os.close(self._inotify)


@contextmanager
def serving() -> Iterator[tuple[str, list[str]]]:
    """A real web server: its address, and what it was asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def references(secret: Path, url: str) -> dict[str, str]:
    """File name -> content of playlists and descriptions that refer to another file and to a server."""
    hls = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"
    mpd = (
        '<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S">'
        '<Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1" codecs="avc1.42c00a">'
        "<BaseURL>{}</BaseURL></Representation></AdaptationSet></Period></MPD>"
    )
    sdp = "v=0\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
    asx = '<asx version="3.0"><entry><ref href="{}"/></entry></asx>'
    texts = {"m3u8": hls, "ffconcat": "ffconcat version 1.0\nfile '{}'\n", "mpd": mpd, "sdp": sdp, "asx": asx}
    texts |= {"ram": "{}\n", "avs": 'DirectShowSource("{}")\n', "m3u": "{}\n", "qt": "RTSPtext\r{}\r", "sub": "{}\n"}
    targets = {
        "local": str(secret),
        "file": f"file:{secret}",
        "net": f"{url}/{{}}",
        "nested": f"concat:{secret}|{secret}",
    }
    files: dict[str, str] = {}
    for kind, text in texts.items():
        for where, target in targets.items():
            content = text.format(target.format(f"{kind}.ts"))
            files |= {f"{where}.{kind}": content, f"{where} {kind}.mp4": content}
    return files


def with_data_elsewhere(video: Path, target: Path, secret: Path) -> Path:
    """An mp4 whose track says, in a Macintosh alias, that its data lie in another file."""
    content = bytearray(video.read_bytes())
    place = content.index(b"dref") + 12  # after the type, version and count: the one entry, of 12 bytes
    name = os.fsencode(secret)
    alias = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16) + struct.pack(">HH", 0, 0) + bytes(16)
    alias += struct.pack(">HH", 2, len(name)) + name + bytes(len(name) % 2) + b"\xff\xff\0\0" + bytes(64)
    entry = struct.pack(">I4sI", 12 + len(alias), b"alis", 0) + alias
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        start = content.index(box) - 4
        content[start : start + 4] = struct.pack(">I", int.from_bytes(content[start : start + 4], "big") + len(alias))
    content[place : place + 12] = entry
    target.write_bytes(content)
    return target


@needs_inotify
def test_these_references_are_followed_by_who_lets_them(tmp_path: Path) -> None:
    """The proof that the next test can fail: opened without care, the same files reach the same places."""
    secret = write_clip(tmp_path / "secret.mp4", 1)
    opens = Opens([secret])
    with serving() as (url, asked):
        for name, content in references(secret, url).items():
            (tmp_path / name).write_text(content)
        with_data_elsewhere(secret, tmp_path / "alias.mp4", secret)
        opens.opened()

        def careless(name: str, options: dict[str, str]) -> bool:
            with suppress(av.error.FFmpegError), av.open(str(tmp_path / name), options=options, timeout=5):
                pass
            return bool(opens.opened())

        everything = {"allowed_extensions": "ALL", "protocol_whitelist": "file,http,tcp,concat", "extension_picky": "0"}
        assert careless("local.ffconcat", {"safe": "0"})
        assert careless("local ffconcat.mp4", {"safe": "0"})
        assert careless("local.m3u8", everything)
        assert careless("alias.mp4", {"enable_drefs": "1", "use_absolute_path": "1"})
        careless("net.m3u8", everything)
        assert asked
    opens.close()


@needs_inotify
def test_no_video_opens_another_file_or_a_url(fda: Commands, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    plain = write_clip(folder / "plain.mp4", 1)
    secret = write_clip(tmp_path / "secret.mp4", 2)
    for number in range(3):
        write_clip(folder / f"frame{number}.mp4", 3)
    with serving() as (url, asked):
        files = references(secret, url)
        for name, content in files.items():
            (folder / name).write_text(content)
        with_data_elsewhere(plain, folder / "alias.mp4", secret)
        names = [
            *("-x", "-i", "pipe:0", "pipe:", "fd:0", "-", f"concat:{secret}|{secret}", f"file://{secret}"),
            *(f"file:{secret}", f"subfile,,start,0,end,0,,:{secret}", f"crypto:{secret}", f"cache:{url}/cache"),
            *(f"{url}/plain.mp4", f"async:{url}/a", "tcp://127.0.0.1:1", "frame%d.mp4", "frame*.mp4", "frame[0-9].mp4"),
            *(
                "data:video/mp4;base64,AAAA",
                f"concatf:{folder}/local.ffconcat",
                f"lavfi:movie={secret}",
                "~/x",
                "$HOME",
            ),
        ]
        records = [record(f"v{number}", name) for number, name in enumerate([*names, *files, "alias.mp4", "plain.mp4"])]
        manifest = write_manifest(tmp_path, records)
        opens = Opens([secret, plain])
        opens.opened()
        ended = fda("preprocess", manifest, tmp_path / "store", "--videos", folder, *SMALL_FLAGS, "--workers", "0")
        assert ended.code == 3
        assert opens.opened() == {plain}
        assert asked == []
    opens.close()
    store = Store.open(tmp_path / "store")
    outcomes = {one.video_id: one for shard in store.shards("test") for one in outcomes_of(store, shard)}
    assert len(outcomes) == len(records)
    path_of = {f"v{number}": name for number, name in enumerate([*names, *files, "alias.mp4", "plain.mp4"])}
    filled = {path_of[one.video_id] for one in outcomes.values() if one.filled}
    assert "plain.mp4" in filled
    assert filled <= {"plain.mp4", "alias.mp4"}  # whose own file may have what it looks for elsewhere
    assert all(one.reason for one in outcomes.values() if not one.filled)
