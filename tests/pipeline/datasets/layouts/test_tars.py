"""The tars of video2dataset: what is extracted from them, and what is refused before anything is extracted."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.datasets.layouts import video2dataset as module
from pipeline.datasets.read import read_dataset, recognise_layout
from pipeline.datasets.reading import parquet_files
from pipeline.datasets.records import Dataset, DatasetError, VideoRecord
from tests.clips_on_disk import SMALL_FLAGS, Commands, write_clip

Members = list[tuple[str, bytes]]
SAMPLES: Members = [
    *(("000000000.mp4", b"first"), ("000000000.txt", b"a  cat\nplays\n"), ("000000000.json", b"{}")),
    *(("-x_1.webm", b"second"), ("-x_1.txt", "été".encode())),
]


def write_tar(path: Path, members: Members, tar_format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size, info.mtime = len(content), 1.5  # webdataset's times are no whole numbers: a header more
            tar.addfile(info, io.BytesIO(content))
    return path


def write_special(path: Path, **facts: object) -> Path:
    """A tar of one member that is no plain file."""
    info = tarfile.TarInfo("a.mp4")
    for name, value in facts.items():
        setattr(info, name, value)
    with tarfile.open(path, "w") as tar:
        tar.addfile(info)
    return path


def write_parquet(path: Path, columns: Mapping[str, list[str | None]]) -> Path:
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)
    return path


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_tar(tmp_path / "tars/00000.tar", SAMPLES)
    return tmp_path / "tars"


def test_videos_are_extracted_once(source: Path, tmp_path: Path) -> None:
    write_tar(source / "00001.tar", [("./b/c.d.mp4", b"third"), ("b/c.txt", b"x"), ("b/._c.mp4", b"a Mac's")])
    assert recognise_layout(source).layout == "video2dataset"
    dataset = read_dataset("video2dataset", source, extract_to=tmp_path / "out")
    assert dataset == Dataset(
        "tars",
        tmp_path / "out",
        (
            VideoRecord("000000000", "00000/000000000.mp4", "test", ("a cat plays",)),
            VideoRecord("-x_1", "00000/-x_1.webm", "test", ("été",)),
            VideoRecord("b/c", "00001/b/c.mp4", "test", ("x",)),
        ),
    )
    contents = {video.path: (tmp_path / "out" / video.path).read_bytes() for video in dataset.videos}
    assert list(contents.values()) == [b"first", b"second", b"third"]
    assert sorted(path.name for path in (tmp_path / "out").rglob("*") if path.is_file()) == [
        *("-x_1.webm", "000000000.mp4", "c.mp4")
    ]
    (tmp_path / "out/00000/000000000.mp4").write_bytes(b"FIRST")  # of the same size: left alone
    (tmp_path / "out/00000/-x_1.webm").write_bytes(b"cut")
    assert read_dataset("video2dataset", source, extract_to=tmp_path / "out") == dataset
    assert (tmp_path / "out/00000/000000000.mp4").read_bytes() == b"FIRST"
    assert (tmp_path / "out/00000/-x_1.webm").read_bytes() == b"second"
    assert read_dataset("video2dataset", source, tmp_path / "out") == dataset


def test_nothing_is_extracted_unasked(source: Path) -> None:
    with pytest.raises(
        DatasetError, match="are in tars and .*give --extract-to FOLDER, with 1 MiB free, or with --videos"
    ):
        read_dataset("video2dataset", source)
    with pytest.raises(DatasetError, match="either --videos .* or --extract-to .*, not both"):
        read_dataset("video2dataset", source, source, extract_to=source)
    assert [path.name for path in source.iterdir()] == ["00000.tar"]


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"caption": ["p", "q", "r"]}, {"000000000": ("p",), "-x_1": ("q",)}),
        (
            {"caption_10": ["k", None, "r"], "caption_9": [" ", "j\nj", "r"], "caption_0": ["i", "i", "i"]},
            {"000000000": ("i", "k"), "-x_1": ("i", "j j")},
        ),
    ],
)
def test_captions_of_a_table(
    source: Path, columns: dict[str, list[str | None]], expected: dict[str, tuple[str, ...]]
) -> None:
    write_parquet(source / "00000.parquet", {"key": ["000000000", "-x_1", "not fetched"], "url": ["u"] * 3, **columns})
    dataset = read_dataset("video2dataset", source, source)
    assert {video.video_id: video.captions for video in dataset.videos} == expected
    assert dataset.left_out == {"test": ("not fetched",)}


@pytest.mark.parametrize(
    "kind",
    [
        *(pa.string(), pa.large_string(), pa.string_view()),
        *(pa.dictionary(pa.int32(), pa.string()), pa.dictionary(pa.int64(), pa.large_string())),
    ],
    ids=str,
)
def test_every_type_of_text_that_a_writer_may_note(source: Path, kind: pa.DataType) -> None:
    """pandas 3 and polars write `large_string`, `string_view` and categories."""

    def column(*texts: str | None) -> pa.Array:
        array = pa.array(texts, pa.string())
        return array.dictionary_encode().cast(kind) if pa.types.is_dictionary(kind) else array.cast(kind)

    keys, captions = column("000000000", "-x_1", "not fetched"), column("p", None, "r")
    pq.write_table(pa.table({"key": keys, "caption": captions, "n": [1, 2, 3]}), source / "00000.parquet")
    dataset = read_dataset("video2dataset", source, source)
    assert {video.video_id: video.captions for video in dataset.videos} == {"000000000": ("p",), "-x_1": ()}
    assert dataset.left_out == {"test": ("not fetched",)}


def test_a_key_without_a_video_is_left_out_and_counted(source: Path) -> None:
    write_tar(
        source / "00001.tar", [("bare.mp4", b"x"), ("blank.mp4", b"x"), ("blank.txt", b" \n"), ("text.txt", b"x")]
    )
    dataset = read_dataset("video2dataset", source, source)
    assert dataset.left_out == {"test": ("text",)}
    captions_of = {video.video_id: video.captions for video in dataset.videos}
    assert (captions_of["bare"], captions_of["blank"]) == ((), ())


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_every_format_of_tar(tmp_path: Path, tar_format: int) -> None:
    key = "k" * 90 if tar_format == tarfile.USTAR_FORMAT else "é" * 200
    info_time = write_tar(tmp_path / "a.tar", [(f"{key}.mp4", b"x"), (f"{key}.txt", b"y")], tar_format)
    assert read_dataset("video2dataset", info_time.parent, tmp_path).videos[0].video_id == key


# --- hostile tars ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([("/etc/x.mp4", b"x")], "'/etc/x.mp4' would be extracted outside the folder; it was not read"),
        ([("../x.mp4", b"x")], r"'\.\./x\.mp4' would be extracted outside"),
        ([("a/../../x.mp4", b"x")], "would be extracted outside"),
        ([("x.mp4", b"x"), ("x.mp4", b"y")], r"'x\.mp4' appears twice"),
        ([("x.mp4", b"x"), ("./x.mp4", b"y")], r"'x\.mp4' appears twice"),
        ([("x.mp4", b"x"), ("x.avi", b"y")], r"key 'x' has two videos, 'x\.mp4' and 'x\.avi'"),
        ([("x.mp4", b"x"), ("x.txt", b"\xff")], r"00001\.tar/x\.txt:1: not UTF-8"),
        (
            [("x.mp4", b"x"), ("x.txt", b"y" * (2**20 + 1))],
            r"'x\.txt' has 1048577 bytes, more than the limit of 1048576",
        ),
        ([("a\nb.mp4", b"x"), ("a\nb.txt", b"x")], "video_id must be one line"),
        ([("-x_1.mp4", b"x"), ("-x_1.txt", b"x")], r"00001\.tar: key '-x_1' is already in .*00000\.tar"),
    ],
)
def test_members_that_are_refused(source: Path, tmp_path: Path, members: Members, message: str) -> None:
    write_tar(source / "00001.tar", members)
    with pytest.raises(DatasetError, match=message):
        read_dataset("video2dataset", source, extract_to=tmp_path / "out")
    assert {path.name for path in tmp_path.rglob("x.*")} <= set()
    assert {path.name for path in tmp_path.iterdir()} <= {"tars", "out"}


@pytest.mark.parametrize(
    "facts",
    [
        {"type": tarfile.SYMTYPE, "linkname": "/etc/passwd"},
        {"type": tarfile.LNKTYPE, "linkname": "../x"},
        {"type": tarfile.CHRTYPE},
        {"type": tarfile.BLKTYPE},
        {"type": tarfile.FIFOTYPE},
        {"type": tarfile.GNUTYPE_SPARSE},
    ],
)
def test_what_is_no_plain_file_is_refused(source: Path, tmp_path: Path, facts: dict[str, object]) -> None:
    write_special(source / "00001.tar", **facts)
    with pytest.raises(DatasetError, match=r"00001\.tar: 'a\.mp4' is a link, a device or a file with holes"):
        read_dataset("video2dataset", source, extract_to=tmp_path / "out")


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def pax(records: str, size: int) -> bytes:
    """A member of `size` bytes, of which a header before it says something else."""
    content = "".join(f"{len(one) + 1 + len(str(len(one) + 3))} {one}\n" for one in records.split("|")).encode()
    return header("x", len(content), tarfile.XHDTYPE) + content.ljust(512, b"\0") + header("a.mp4", size)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("a.mp4", 2**40), r"'a\.mp4' claims 1099511627776 bytes: the tar is cut off"),
        (header("a.mp4", 513) + bytes(512), "the tar is cut off"),
        (
            header("x", 2**31, tarfile.XHDTYPE) + bytes(2048),
            "the header at byte 0 has 2147483648 bytes; it was not read",
        ),
        (header("x", 2**17, tarfile.GNUTYPE_LONGNAME) + bytes(2**18), "the header at byte 0 has 131072 bytes"),
        (header("x", 10, tarfile.XGLTYPE) + b"9 size=99\n".ljust(512, b"\0") + header("a.mp4", 0), "more than 8 GiB"),
        (pax("size=4096", 512) + bytes(512), "has more than 8 GiB or holes"),
        (pax("GNU.sparse.major=1|GNU.sparse.minor=0", 512) + bytes(512), "more than 8 GiB or holes|not a tar that can"),
        (b"x" * 1024, "no header of a tar at byte 0"),
        (b"PK\x03\x04" + bytes(1020), "no header of a tar at byte 0"),
        (header("a.mp4", 0)[:300], "no header of a tar at byte 0"),
    ],
)
def test_headers_that_lie(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "00000.tar").write_bytes(content)
    with pytest.raises(DatasetError, match=message):
        read_dataset("video2dataset", tmp_path, extract_to=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_number_of_members_is_bounded(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_MEMBERS", 5)
    with pytest.raises(DatasetError, match="has more than 5 members"):
        read_dataset("video2dataset", source, source)


# --- tables ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"key": ["a"]}, "needs texts 'key', and 'caption' or 'caption_0', each once; it has key"),
        ({"caption": ["a"]}, "needs texts 'key'"),
        ({"key": ["a", "a"], "caption": ["x", "y"]}, r"00000\.parquet: key 'a' appears twice"),
        ({"key": [None], "caption": ["x"]}, r"00000\.parquet: a row has no key"),
    ],
)
def test_tables_that_are_refused(source: Path, columns: dict[str, list[str | None]], message: str) -> None:
    write_parquet(source / "00000.parquet", columns)
    with pytest.raises(DatasetError, match=message):
        read_dataset("video2dataset", source, source)


def test_a_table_that_is_none(source: Path) -> None:
    (source / "00000.parquet").write_bytes(b"PAR1 and nothing more")
    with pytest.raises(DatasetError, match=r"00000\.parquet is not a Parquet file that can be read"):
        read_dataset("video2dataset", source, source)


def test_captions_that_a_table_repeats_are_counted(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_files, "MAX_CAPTION_BYTES", 2**20)
    keys = [str(number) for number in range(5000)]
    path = write_parquet(source / "00000.parquet", {"key": list(keys), "caption": ["x" * 1000] * 5000})
    assert path.stat().st_size < 2**16
    with pytest.raises(DatasetError, match="contains more than 1048576 bytes of captions"):
        read_dataset("video2dataset", source, source)


def test_a_folder_without_a_tar(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"contains no \.tar file"):
        read_dataset("video2dataset", tmp_path)


def test_tars_are_preprocessed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 1).read_bytes()
    source = write_tar(
        tmp_path / "tars/00000.tar", [("0.mp4", clip), ("0.txt", b"it runs"), ("1.mp4", clip), ("2.txt", b"gone")]
    )
    source = source.parent
    arguments = (source, tmp_path / "store", "--extract-to", tmp_path / "videos", *SMALL_FLAGS, "--workers", "0")
    ended = Commands(monkeypatch, capfd)("preprocess", *arguments)
    assert ended.code == 0, ended.err
    assert "is read as video2dataset: it contains '00000.tar'" in ended.err
    assert "warning: test has 2 of 3 videos; left out: '2'" in ended.err
    assert "2 clips; no video failed" in ended.out
