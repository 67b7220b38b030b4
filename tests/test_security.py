"""Hostile input: no file but the video is opened, no code of a file runs, nothing takes memory or a terminal."""

from __future__ import annotations

import ctypes
import ctypes.util
import io
import json
import os
import pickle
import struct
import sys
import threading
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.torch
import torch
from torch import nn

from cli.output.demo_page import write_demo_page
from cli.output.printing import printable
from encoders.errors import WeightsFormatError
from encoders.weights.files import read_weights_file
from pipeline.datasets.layouts import msvd as msvd_module
from pipeline.datasets.layouts.jsonl import MAX_JSONL_BYTES, read_jsonl
from pipeline.datasets.read import read_dataset
from pipeline.datasets.records import DatasetError
from store.completion import outcomes_of
from store.errors import StoreFormatError
from store.formats.parquet import parquet_bytes, read_small_table, read_table
from store.store import Store
from tests.clips_on_disk import SMALL_FLAGS, Commands, record, write_clip, write_manifest
from tests.demo_results import demo_result

needs_inotify = pytest.mark.skipif(sys.platform != "linux", reason="opens are watched by inotify")


@pytest.fixture
def fda(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Commands:
    return Commands(monkeypatch, capfd)


# --- what a video may open -------------------------------------------------------------------------------------------


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


HOSTILE_PATHS = ("../secret.mp4", "/etc/passwd", "a/../../secret.mp4", "x\0.mp4", "x\n.mp4", "", ".", "..", "a/..")


@pytest.mark.parametrize("path", HOSTILE_PATHS)
def test_no_path_of_a_manifest_leaves_the_folder(tmp_path: Path, path: str) -> None:
    manifest = write_manifest(tmp_path, [record("a", path)])
    with pytest.raises(DatasetError, match=rf"{manifest.name}:1: path"):
        read_jsonl(manifest)


def test_no_id_of_a_list_leaves_the_folder_of_msvd(msvd: Path) -> None:
    for video_id in ("../secret", "/etc/passwd", "a/../../b"):
        write_pickle(msvd, pickle.dumps({video_id: [["x"]]}), video_id)
        with pytest.raises(DatasetError, match="relative and plain|one line"):
            read_dataset("msvd", msvd)
    write_pickle(msvd, pickle.dumps({"pipe:0": [["x"]]}), "pipe:0")
    assert read_dataset("msvd", msvd).videos[0].path == "pipe:0.avi"


def test_a_link_is_a_choice_of_who_owns_the_folder(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    (tmp_path / "videos/far.mp4").symlink_to(write_clip(tmp_path / "far.mp4", 1))
    (tmp_path / "videos/far.txt").write_text("x")
    assert [video.path for video in read_dataset("folder", tmp_path / "videos").videos] == ["far.mp4"]
    manifest = write_manifest(tmp_path, [record("a", "link/../../far.mp4")])
    (tmp_path / "videos/link").symlink_to(tmp_path)
    with pytest.raises(DatasetError, match="leaves"):  # by its letters: no link is followed to find out
        read_jsonl(manifest, tmp_path / "videos")


# --- pickles of captions ---------------------------------------------------------------------------------------------


@pytest.fixture
def msvd(tmp_path: Path) -> Path:
    for name in ("train_list.txt", "val_list.txt", "test_list.txt"):
        (tmp_path / name).write_text("")
    return tmp_path


def write_pickle(folder: Path, content: bytes, video_id: str = "d_1_2") -> None:
    (folder / "train_list.txt").write_text(video_id + "\n")
    (folder / "raw-captions.pkl").write_bytes(content)


SHARED = b"}U\x05d_1_2](]q\x00(" + b"U\x01x" * 5000 + b"e" + b"h\x00" * 20000 + b"es."
"""20,001 times the same caption of 5,000 tokens."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"}r\xff\xff\xff\x0f.", "keeps 268435455 things at instruction 1"),
        (b"}p99999999999\n.", "keeps 99999999999 things"),
        (b"}\x8d" + (1 << 40).to_bytes(8, "little") + b"x.", "not a whole pickle"),
        (b"}X\xff\xff\xff\x7fx.", "not a whole pickle"),
        (b"\x80\x04\x95" + (1 << 40).to_bytes(8, "little") + b"}.", "not a whole pickle"),
        (b"L" + b"9" * 100_000 + b"L\n.", "not a whole pickle"),
        (b"(" + b"]" * 3000 + b"l.", "has more than 2048 instructions"),
        (b"cos\nsystem\n(S'id'\ntR.", "asks for GLOBAL 'os system' at byte 0"),
        (b"(S'id'\nios\nsystem\n.", "asks for INST 'os system'"),
        (b"\x80\x04\x8c\x02os\x8c\x06system\x93.", "asks for STACK_GLOBAL"),
        (b"}}b.", "asks for BUILD at byte 2"),
        (b"Px\n.", "asks for PERSID 'x'"),
        (b"}Q.", "asks for BINPERSID"),
        (b"\x82\x01.", "asks for EXT1 1"),
        (b"\x8f.", "asks for EMPTY_SET"),
        (b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", "not a whole pickle"),
    ],
)
def test_a_hostile_pickle_is_refused_before_it_is_read(
    msvd: Path, content: bytes, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was unpickled")

    if "whole" not in message:
        monkeypatch.setattr(msvd_module, "_PlainUnpickler", never)
    if "2048" in message:
        monkeypatch.setattr(msvd_module, "MAX_PICKLE_OPCODES", 2048)
    write_pickle(msvd, content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("msvd", msvd)


def test_captions_that_a_pickle_repeats_are_counted(msvd: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(msvd_module, "MAX_CAPTION_CHARACTERS", 2**20)
    write_pickle(msvd, SHARED)
    with pytest.raises(DatasetError, match="with 'd_1_2' the captions have more than 1048576 characters"):
        read_dataset("msvd", msvd)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_captions_of_every_protocol_are_read(msvd: Path, protocol: int) -> None:
    tokens = ["a", "cat", "café"]
    write_pickle(msvd, pickle.dumps({"d_1_2": [tokens, tokens, ["b"] * 300]}, protocol=protocol))
    assert read_dataset("msvd", msvd).videos[0].captions == ("a cat café", "a cat café", " ".join(["b"] * 300))


# --- JSON and lists --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (b'{"a":' * 100_000, ":2: not JSON"),
        (b"[" * 1_000_000, ":2: not JSON"),
        (b'{"start_seconds": ' + b"9" * 100_000 + b"}", ":2: not JSON"),
        (b'{"video_id": "b", "path": "b", "captions": ["x"], "end_seconds": 1e999}', ":2: .*"),
        (b'{"video_id": "b", "path": "b", "captions": ["x"], "start_seconds": NaN}', ":2: .*"),
        (b"x" * (2**20 + 1), ":2: longer than 1048576 bytes"),
        (b"{" + b",".join(b'"%d":0' % n for n in range(90_000)) + b',"89999":1}', ":2: key '89999' appears twice"),
    ],
)
def test_hostile_json_is_refused_at_once_with_its_line(tmp_path: Path, broken: bytes, message: str) -> None:
    manifest = tmp_path / "a.jsonl"
    manifest.write_bytes(json.dumps(record("a", "a.mp4")).encode() + b"\n" + broken + b"\n")
    with pytest.raises(DatasetError, match="a.jsonl" + message):
        read_jsonl(manifest)


def test_files_of_annotations_are_bounded(msvd: Path) -> None:
    manifest = msvd / "a.jsonl"
    manifest.touch()
    os.truncate(manifest, 2**33)  # one line of 8 GiB, on no disk
    with pytest.raises(DatasetError, match=r"a\.jsonl:1: longer than 1048576 bytes"):
        read_jsonl(manifest)
    os.truncate(manifest, MAX_JSONL_BYTES + 1)
    with pytest.raises(
        DatasetError, match=rf"has {MAX_JSONL_BYTES + 1} bytes, more than the limit of {MAX_JSONL_BYTES}"
    ):
        read_jsonl(manifest)
    os.truncate(msvd / "val_list.txt", 2**26)
    with pytest.raises(DatasetError, match=r"val_list\.txt:1: longer than"):
        read_dataset("msvd", msvd)
    os.truncate(msvd / "val_list.txt", 2**26 + 1)
    with pytest.raises(DatasetError, match=r"val_list\.txt has 67108865 bytes, more than the limit of 67108864"):
        read_dataset("msvd", msvd)


# --- Parquet ---------------------------------------------------------------------------------------------------------

SCHEMA = pa.schema([("video_id", pa.string()), ("row", pa.int64()), ("fps", pa.float64()), ("filled", pa.bool_())])


def parquet(rows: dict[str, object], **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table(rows), sink, **options)
    return sink.getvalue()


def rows(num_rows: int, video_id: object = None) -> dict[str, object]:
    ids = [f"v{row}" for row in range(num_rows)] if video_id is None else video_id
    return {"video_id": ids, "row": list(range(num_rows)), "fps": [25.0] * num_rows, "filled": [True] * num_rows}


@pytest.mark.parametrize("options", [{}, {"use_dictionary": False}, {"row_group_size": 2}, {"compression": "zstd"}])
@pytest.mark.parametrize("num_rows", [0, 1, 5])
def test_a_parquet_file_within_its_limits_is_read(options: dict[str, object], num_rows: int) -> None:
    table = pa.table(rows(num_rows), schema=SCHEMA)
    sink = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({"key": "value"}), sink, **options)
    found = read_table(sink.getvalue(), "x", SCHEMA)
    assert found.equals(table)
    assert found.schema.metadata[b"key"] == b"value"


def _repeated_rows() -> bytes:
    nothing = pa.nulls(4_000_000)
    return parquet({field.name: nothing.cast(field.type) for field in SCHEMA}, compression="zstd")


def _repeated_text() -> bytes:
    text = pa.DictionaryArray.from_arrays(pa.array(np.zeros(100_000, np.int32)), ["y" * 100_000])
    return parquet(rows(100_000, text), compression="zstd")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_repeated_rows, "x declares 4,000,000 rows, and may have 1,"),
        (_repeated_text, "x declares 10,000,000,000 bytes of text"),
        (lambda: parquet(rows(1, ["z" * 10**8]), compression="zstd", use_dictionary=False), "bytes uncompressed"),
        (
            lambda: parquet(
                rows(5),
                use_dictionary=False,
                column_encoding={"video_id": "DELTA_BYTE_ARRAY", "row": "PLAIN", "fps": "PLAIN", "filled": "PLAIN"},
            ),
            "Not yet implemented: .*DeltaByteArray",
        ),
        (lambda: parquet({"video_id": ["a"]}), r"x has other columns than it should: video_id \(string\)"),
        (lambda: parquet(rows(1) | {"row": ["1"]}), "other columns"),
        (lambda: parquet(rows(1) | {"more": [1]}), "other columns"),
        (lambda: parquet(rows(1) | {"video_id": [[["a"]]]}), "other columns"),
        (lambda: b"", "not a readable Parquet file"),
        (lambda: b"PAR1" + b"\xff" * 4 + b"PAR1", "not a readable Parquet file"),
        (lambda: parquet(rows(5))[:-9], "not a readable Parquet file"),
    ],
)
def test_a_parquet_bomb_is_refused_by_what_it_declares(make: Callable[[], bytes], message: str) -> None:
    content = make()
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(StoreFormatError, match=message):
        read_table(content, "x", SCHEMA)
    assert pa.default_memory_pool().max_memory() - before < 10**8


def _small(rows: dict[str, object], **options: object) -> bytes:
    return parquet(rows, **{"compression": "none", "use_dictionary": False, **options})


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (_repeated_rows, "x declares 4,000,000 rows, and may have"),
        (
            lambda: _small(rows(9, ["y"] * 9), use_dictionary=["video_id"]),
            "x has a dictionary for 'video_id', and no such",
        ),
        (_repeated_text, "bytes uncompressed"),
        (lambda: _small(rows(1, ["z" * 10**8]), compression="zstd"), "bytes uncompressed"),
        (lambda: _small({"video_id": ["a"]}), "other columns"),
        (lambda: _small(rows(1) | {"row": ["1"]}), "other columns"),
        (lambda: _small(rows(1) | {"video_id": [[["a"]]]}), "other columns"),
        (lambda: b"", "not a readable Parquet file"),
        (lambda: _small(rows(5))[:-9], "not a readable Parquet file"),
    ],
)
def test_a_bomb_of_a_small_parquet_file_is_refused(make: Callable[[], bytes], message: str) -> None:
    content = make()
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(StoreFormatError, match=message):
        read_small_table(content, "x", SCHEMA)
    assert pa.default_memory_pool().max_memory() - before < 10**8


@pytest.mark.parametrize("num_rows", [0, 1, 5])
def test_a_small_parquet_file_is_read(num_rows: int) -> None:
    table = pa.table(rows(num_rows), schema=SCHEMA)
    content = parquet_bytes(table, {"key": "value"}, is_small=True)
    found = read_small_table(content, "x", SCHEMA)
    assert found.equals(table)
    assert found.schema.metadata[b"key"] == b"value"
    assert read_small_table(content, "x", SCHEMA, ["row", "filled"]).equals(table.select(["row", "filled"]))


def test_damaged_parquet_is_read_or_refused() -> None:
    whole, chance = parquet(rows(3)), np.random.default_rng(7)
    refused = 0
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(int(chance.choice([1, 2, 8]))):
            damaged[chance.integers(len(damaged))] = chance.integers(256)
        try:
            read_table(bytes(damaged), "x", SCHEMA)
        except StoreFormatError:
            refused += 1
    assert refused > 200


# --- weights ---------------------------------------------------------------------------------------------------------


def crafted(path: Path, num_elements: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> Path:
    """What torch saves, of one tensor over 16 bytes that says something else of itself."""
    storage = object()

    class Rebuilt:
        def __reduce__(self) -> tuple[object, ...]:
            return torch._utils._rebuild_tensor_v2, (storage, offset, size, stride, False, None)

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: object) -> object:
            return ("storage", torch.FloatStorage, "0", "cpu", num_elements) if value is storage else None

    pickled = io.BytesIO()
    Pickler(pickled, 2).dump({"conv1.weight": Rebuilt()})
    torch.save({"conv1.weight": torch.zeros(4)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, pickled.getvalue() if name.endswith("data.pkl") else content)
    return path


@pytest.mark.parametrize(
    ("num_elements", "size", "stride", "offset"),
    [
        (10**6, (10**6,), (1,), 0),
        (10**12, (4,), (1,), 0),
        (4, (10**12,), (1,), 0),
        (4, (64,), (1,), 0),
        (4, (4,), (100,), 0),
        (4, (4,), (-1,), 0),
        (4, (1,), (1,), -5),
        (4, (1,), (1,), 50),
    ],
)
def test_a_tensor_that_leaves_its_storage_is_refused(
    tmp_path: Path, num_elements: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int
) -> None:
    with pytest.raises(WeightsFormatError, match="is cut short or damaged"):
        read_weights_file(crafted(tmp_path / "a.pt", num_elements, size, stride, offset))


def test_a_zip_bomb_of_weights_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2**24 + 2**20)}, tmp_path / "whole.pt")
    with zipfile.ZipFile(tmp_path / "whole.pt") as whole, zipfile.ZipFile(tmp_path / "a.pt", "w", 8) as packed:
        for name in whole.namelist():
            packed.writestr(name, whole.read(name), compresslevel=1)
    with pytest.raises(WeightsFormatError, match="unpacks to .* which torch never writes"):
        read_weights_file(tmp_path / "a.pt")


@pytest.mark.parametrize(
    ("length", "header", "size"),
    [
        (2**63, b"{}", 0),
        (10**9, b"{}", 0),
        (None, b'{"a":' * 10_000, 0),
        (None, b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}', 8),
        (None, b'{"a":{"dtype":"F32","shape":[99999999999,99999999999],"data_offsets":[0,64]}}', 64),
        (None, b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,64]}}', 64),
        (
            None,
            b'{"a":{"dtype":"F32","shape":[16],"data_offsets":[0,64]},'
            b'"b":{"dtype":"F32","shape":[16],"data_offsets":[0,64]}}',
            64,
        ),
    ],
)
def test_a_hostile_header_of_safetensors_is_refused(
    tmp_path: Path, length: int | None, header: bytes, size: int
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", len(header) if length is None else length) + header + bytes(size))
    with pytest.raises(WeightsFormatError, match="is cut short or damaged"):
        read_weights_file(path)


class _Tower(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.arange(6.0).reshape(2, 3).T)

    def forward(self, x: torch.Tensor, k: int = 3) -> torch.Tensor:
        return x * k


def archive_with(path: Path, replaced: bytes, by: bytes) -> Path:
    """A TorchScript archive in whose code something is replaced."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(_Tower()).save(str(path))  # type: ignore[no-untyped-call]
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    assert any(replaced in content for content in entries.values())
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in entries.items():
            archive.writestr(name, content.replace(replaced, by))
    return path


def test_the_code_of_a_torchscript_archive_does_not_run(tmp_path: Path) -> None:
    """`torch.jit.load` would run it, as the last lines prove."""
    made = tmp_path / "made"
    code = f'k: int=torch.numel(torch.from_file("{made}", True, 10))'.encode()
    path = archive_with(tmp_path / "a.pt", b"k: int=3", code)
    with pytest.raises(WeightsFormatError, match="does not contain a CLIP vision transformer"):
        read_weights_file(path)
    assert not made.exists()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.load(str(path))  # type: ignore[no-untyped-call]
    assert made.exists()


@pytest.mark.parametrize(
    ("replaced", "by"),
    [(b"ctorch._utils\n_rebuild_tensor_v2\n", b"cos\nsystem\n"), (b"__torch__", b"__other__")],
)
def test_an_archive_that_asks_for_other_code_is_refused(tmp_path: Path, replaced: bytes, by: bytes) -> None:
    with pytest.raises(WeightsFormatError, match="Python objects besides tensors"):
        read_weights_file(archive_with(tmp_path / "a.pt", replaced, by))


def test_good_weights_are_read_as_before(tmp_path: Path) -> None:
    tensors = {"visual.conv1.weight": torch.rand(2, 3).T, "visual.class_embedding": torch.rand(3)}
    torch.save(tensors, tmp_path / "a.pt")
    safetensors.torch.save_file({name: one.contiguous() for name, one in tensors.items()}, tmp_path / "a.safetensors")
    for name in ("a.pt", "a.safetensors"):
        found = read_weights_file(tmp_path / name).tensors
        assert all(torch.equal(found[key], tensor) for key, tensor in tensors.items())


# --- what is shown ---------------------------------------------------------------------------------------------------

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eexe.\x08"


def test_no_id_or_reason_steers_the_terminal(fda: Commands, tmp_path: Path) -> None:
    manifest = write_manifest(tmp_path, [record(f"a{EVIL}", f"{EVIL}.mp4", captions=[EVIL])])
    ended = [fda("preprocess", manifest, tmp_path / "store", *SMALL_FLAGS, "--workers", "0")]
    ended.append(fda("status", tmp_path / "store", "--failures"))
    for flags in (["--json"], ["--failures", "--json"]):
        ended.append(fda("status", tmp_path / "store", *flags))
        assert json.loads(ended[-1].out)["failures"][0]["video_id"] == f"a{EVIL}"
    manifest.write_text(json.dumps(record("a", f"../{EVIL}")) + "\n")
    ended.append(fda("preprocess", manifest, tmp_path / f"store{EVIL}", *SMALL_FLAGS))
    assert ended[-1].code == 1
    assert r"a\u001b]0;owned\u0007" in ended[0].out
    for one in ended:
        assert printable(one.out + one.err) == one.out + one.err


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()
        self.alts: list[str | None] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        self.alts += [value for name, value in attrs if name == "alt"]

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize(
    "evil", ["<script>alert(1)</script>", "\"' onerror='x' x=\"", "</script><img src=x>", "\u202egnp.<b>", "{{ 7*7 }}"]
)
def test_the_page_shows_ids_and_captions_as_text(tmp_path: Path, evil: str) -> None:
    def page(text: str) -> _Page:
        path = tmp_path / "page.html"
        write_demo_page(path, demo_result([text]), [text, "R@1"], [[text, "1"]])
        parsed = _Page()
        parsed.feed(path.read_text(encoding="utf-8"))
        return parsed

    plain, found = page("plain"), page(evil)
    assert (found.tags, found.attributes) == (plain.tags, plain.attributes)
    assert found.text.count(evil) == plain.text.count("plain") == 4
    assert [evil in (alt or "") for alt in found.alts] == [True]
    assert plain.tags.count("bdi") == 2  # a caption that turns the direction turns its own alone
