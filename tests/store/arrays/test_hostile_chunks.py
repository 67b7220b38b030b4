"""Chunks that somebody else has written, with right checksums: refused before memory is taken for them."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from numcodecs import blosc, zstd

from store.arrays.codec_names import CodecName
from store.arrays.reading import ChunkReader
from store.arrays.shards import ArraySpec, checksum_of
from store.clips.layout import frames_spec
from store.errors import ShardDamagedError
from store.store import Store
from tests.stores import fill_store, make_store, write_shard


def jpeg_of(height: int, width: int, said: tuple[int, int] | None = None) -> bytes:
    """A grey picture; its header may say another height and width."""
    content = bytearray(cv2.imencode(".jpg", np.full((height, width), 128, np.uint8))[1].tobytes())
    if said is not None:
        place = content.index(b"\xff\xc0") + 5  # marker, length, precision
        content[place : place + 4] = struct.pack(">HH", *said)
    return bytes(content)


def blosc_of(num_bytes: int, *, said: int) -> bytes:
    """Its header says another size of itself."""
    content = bytearray(blosc.compress(np.zeros(num_bytes, np.uint8), b"zstd", 1))
    content[12:16] = struct.pack("<I", said)
    return bytes(content)


def blosc_around(stream: bytes) -> bytes:
    """A header as masks have it, of a clip of 576 bytes, before any stream."""
    return struct.pack("<4B5I", 2, 1, 0x94, 1, 576, 576, 24 + len(stream), 20, len(stream)) + stream


def zstd_of_unsaid_size(num_bytes: int) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        stream.write(bytes(num_bytes))
    return bytes(sink.getvalue())


def filled_store(folder: Path, codec: CodecName) -> tuple[Store, ArraySpec]:
    store = make_store(folder, 3, frame_codec=codec)
    fill_store(store)
    return store, frames_spec(store, "test")


ZEROS = np.zeros(1 << 20, np.uint8)
WRONG_CONTENTS: list[tuple[CodecName, str, bytes]] = [
    *[("jpeg", f"{said}", jpeg_of(24, 8, said)) for said in ((32_000, 32_000), (8, 24), (24, 65_500), (0, 0))],
    ("jpeg", "png", cv2.imencode(".png", np.zeros((24, 8), np.uint8))[1].tobytes()),
    ("jpeg", "no pixels", jpeg_of(24, 8)[:20]),
    *[(codec, "text", b"no picture") for codec in ("raw", "jpeg", "zstd", "blosc")],
    *[(codec, "nothing", b"") for codec in ("raw", "jpeg", "zstd", "blosc")],
    *[("zstd", f"{size} bytes", bytes(zstd.compress(ZEROS[:size], 1))) for size in (1 << 20, 100)],
    *[("zstd", f"{size} bytes, unsaid", zstd_of_unsaid_size(size)) for size in (1 << 20, 100)],
    *[("blosc", f"{size} bytes", bytes(blosc.compress(ZEROS[:size], b"zstd", 1))) for size in (1 << 20, 100)],
]
WRONG_CONTENTS += [
    ("blosc", "a size beyond its end", blosc_of(576, said=1 << 30)),
    *[("blosc", f"bits of {size} bytes", blosc_around(bytes(zstd.compress(ZEROS[:size], 1)))) for size in (1 << 20, 9)],
    *[("blosc", f"bits of {size} bytes, unsaid", blosc_around(zstd_of_unsaid_size(size))) for size in (1 << 20, 9)],
    ("blosc", "bits that are no stream", blosc_around(b"no stream of Zstandard")),
    ("blosc", "bits and no stream", blosc_around(b"")),
]
"""What a clip of 3 x 8 x 8 pixels in colour is not."""


@pytest.mark.parametrize(("codec", "content"), [pytest.param(a, c, id=f"{a} {b}") for a, b, c in WRONG_CONTENTS])
def test_a_chunk_of_a_right_checksum_and_a_wrong_content_is_damaged_and_never_decoded(
    tmp_path: Path, codec: CodecName, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has written it: what it says of its size is compared before memory is taken for it."""
    store, spec = filled_store(tmp_path, codec)
    kept = {slot: content + checksum_of(np.frombuffer(content, np.uint8)) for slot in range(3)}
    write_shard(store.folder, spec, store.shards("test")[0], np.ones((3, *spec.item_shape), np.uint8), kept)
    monkeypatch.setattr(cv2, "imdecode", pytest.fail)
    with pytest.raises(ShardDamagedError, match="frames.* is damaged: .* of its chunk 0 is wrong"):
        ChunkReader(store.folder, spec).read([0])


@pytest.mark.parametrize(("offset", "num_bytes"), [(0, 1 << 62), (1 << 62, 580), (2**64 - 600, 580), (0, 1 << 40)])
@pytest.mark.parametrize("codec", ["raw", "zstd"])
def test_an_index_that_points_out_of_its_file_is_refused_before_memory_is_taken(
    tmp_path: Path, codec: CodecName, offset: int, num_bytes: int
) -> None:
    store, spec = filled_store(tmp_path, codec)
    path = tmp_path / spec.shard_name(0)
    whole = path.read_bytes()
    index = np.frombuffer(whole[-16 * spec.chunks_per_shard - 4 : -4], "<u8").copy()
    index[:2] = offset, num_bytes
    path.write_bytes(whole[: -index.nbytes - 4] + index.tobytes() + checksum_of(index.view(np.uint8)))
    with pytest.raises(ShardDamagedError, match="is cut off|the length of its chunk 0 is wrong"):
        ChunkReader(store.folder, spec).read([0])
