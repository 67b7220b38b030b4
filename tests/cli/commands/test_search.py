"""`fda search` on the real command line: what it prints, and what it says to bad input."""

from __future__ import annotations

import io
import json
import os
import struct
import sys
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cli.output.printing import printable
from encoders.weights.loading import load_model
from store.store import Store
from tests.clips_on_disk import Commands
from tests.encoders_tiny import write_config
from tests.searching import encoded_clips, random_frames, searchable
from tests.stores import tree_digest
from tests.terminal import terminal

NOTHING_READ = "the model reads nothing of the query"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("encoded")


@pytest.fixture(scope="module")
def place(folder: Path) -> Path:
    return encoded_clips(folder)


@pytest.fixture(scope="module")
def picture(folder: Path) -> Path:
    path = folder / "a picture.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (60, 40, 3), np.uint8)).save(path)
    return path


def test_a_text_finds_videos_with_their_moments(fda: Commands, place: Path) -> None:
    before = tree_digest(place, leave_out=())
    ended = fda("search", place, "a square runs left", "--top", "3")
    assert ended.code == 0, ended.err
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert lines[0] == "a square runs left"
    assert lines[2] == "score video split at caption"
    assert [line.split()[0] for line in lines[4:7]] == ["1", "2", "3"]
    assert lines[-1].startswith("6 videos compared; features mine; encoder tiny, weights ")
    assert ended.err.startswith("weights: none: random weights")
    found = json.loads(fda("search", place, "a square runs left", "--top", "3", "--json").out)
    (answer,) = found["answers"]
    assert (answer["query"], answer["kind"], answer["num_candidates"]) == ("a square runs left", "text", 6)
    best = answer["hits"][0]
    assert best["moment"] == max(best["frames"], key=lambda frame: frame["score"])
    assert [hit["score"] for hit in answer["hits"]] == sorted((hit["score"] for hit in answer["hits"]), reverse=True)
    assert tree_digest(place, leave_out=()) == before


def test_all_kinds_of_queries_in_one_call(fda: Commands, place: Path, picture: Path, tmp_path: Path) -> None:
    (tmp_path / "queries.txt").write_text("\ufeffa dog\r\n\n  runs  \n", encoding="utf-8")
    flags = ("--queries", tmp_path / "queries.txt", "--image", picture, "--video", "test_1", "--caption", "test_1#0")
    ended = fda("search", place, "first", *flags, "--json")
    answers = json.loads(ended.out)["answers"]
    assert [(answer["kind"], answer["query"]) for answer in answers] == [
        ("text", "first"),
        ("text", "a dog"),
        ("text", "runs"),
        ("image", str(picture)),
        ("video", "test_1"),
        ("caption", "test_1#0"),
    ]
    assert [len(answer["hits"]) for answer in answers] == [6, 6, 6, 6, 5, 6]


def test_a_frame_of_a_video_finds_that_moment(fda: Commands, place: Path, tmp_path: Path) -> None:
    from fda import open_store

    frames = open_store(place).frames("test_2")
    Image.fromarray(frames[1]).save(tmp_path / "frame.png")
    ended = fda("search", place, "--image", tmp_path / "frame.png", "--by", "frame", "--top", "1", "--json")
    ((hit,),) = (answer["hits"] for answer in json.loads(ended.out)["answers"])
    # The store's frames were encoded with their masks, and the picture has none.
    assert hit["score"] > 0.8
    assert hit["video_id"].startswith("t")


def test_captions_are_found_too(fda: Commands, place: Path) -> None:
    ended = fda("search", place, "--video", "test_0", "--captions", "--split", "test", "--json")
    (answer,) = json.loads(ended.out)["answers"]
    assert answer["num_candidates"] == len(answer["hits"]) == 8
    assert all(hit["caption_id"].startswith("test_") for hit in answer["hits"])


def test_queries_from_stdin(fda: Commands, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("wörter\nmehr".encode()), encoding="utf-8"))
    answers = json.loads(fda("search", place, "--queries", "-", "--json").out)["answers"]
    assert [answer["query"] for answer in answers] == ["wörter", "mehr"]


def test_filters(fda: Commands, place: Path) -> None:
    def ids(*flags: str) -> list[str]:
        ended = fda("search", place, "--caption", "train_0#0", *flags, "--json")
        assert ended.code == 0, ended.err
        return sorted(hit["video_id"] for hit in json.loads(ended.out)["answers"][0]["hits"])

    every = ids()
    assert len(every) == 6
    assert ids("--split", "train") == ["train_0", "train_1"]
    assert ids("--motion", "0-100%", "--duration", "0.1-") == every
    assert ids("--duration", "1000-2000") == ids("--camera", "moves") == []  # these clips are too small to measure
    nothing = fda("search", place, "--caption", "train_0#0", "--motion", "99%-")
    assert nothing.code == 0
    assert "caption train_0#0: nothing found" in nothing.out
    assert nothing.out.splitlines()[-1].startswith("0 videos compared")
    assert "warning: no video passes the filters" in nothing.err


def test_another_model_is_refused_and_both_are_named(fda: Commands, place: Path, folder: Path, tmp_path: Path) -> None:
    model = ("--model", write_config(folder), "--pretrained", "none")
    assert fda("search", place, "a dog", *model).code == 0
    other = fda("search", place, "a dog", *model, "--seed", "1")
    assert (other.code, other.out) == (1, "")
    sha256 = load_model(model[1], "none", seed=1).report.sha256
    assert "features 'mine' were made by tiny, weights " in other.error_line
    assert f"random weights of seed 1 has weights {sha256[:12]}: their vectors cannot be" in other.error_line
    Path(model[1]).rename(tmp_path / "moved.json")
    moved = fda("search", place, "a dog")
    (tmp_path / "moved.json").rename(model[1])
    assert (moved.code, moved.out) == (1, "")
    assert "features 'mine' cannot be loaded from where it was" in moved.error_line
    assert moved.error_line.endswith("or search by --video or --caption, which need no model")
    gone = fda("search", place, "a dog", "--checkpoint", tmp_path / "gone")
    assert gone.code == 1
    assert "no model is needed" not in gone.err
    by_id = fda("search", place, "--video", "test_0", "--checkpoint", tmp_path / "gone")
    assert by_id.code == 0
    assert by_id.err == "no model is needed: queries by --video and --caption take vectors of the store\n"


def test_several_stores_are_ranked_together(fda: Commands, tmp_path: Path) -> None:
    one, two = (searchable(tmp_path / name, random_frames(5, seed)) for seed, name in enumerate(("one", "two")))
    ended = fda("search", one.place, "--video", "-vidéo_0", "--also", two.place, "--also", one.place)
    assert ended.code == 0
    assert "is given twice, and searched once" in ended.err
    assert [line.split()[0] for line in ended.out.splitlines()[4:13]] == list(map(str, range(1, 10)))
    assert one.place in ended.out
    assert two.place in ended.out
    missing = fda("search", one.place, "--video", "-vidéo_0", "--also", tmp_path / "three")
    assert (missing.code, missing.out) == (1, "")
    assert "no store at" in missing.error_line


@pytest.mark.parametrize(
    "text", ["🦊", "Ждём лета", "狐狸在跑", "x\x00\x1b[2Jy", "-x", "\u202eabc", "<b>{{ 7*7 }}</b>", "a" * 10_000]
)
def test_texts_of_every_kind_are_answered(fda: Commands, place: Path, text: str) -> None:
    ended = fda("search", place, "--top", "1", "--", text)
    assert ended.code == 0, ended.err
    assert printable(ended.out + ended.err) == ended.out + ended.err
    found = fda("search", place, "--json", "--", text)
    assert json.loads(found.out)["answers"][0]["query"] == text
    assert ("is longer than the model reads" in ended.err) >= (len(text) == 10_000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the text to search for is empty"),
        (" ", "is empty"),
        ("\t\n", "is empty"),
        ("a" * 200_000, "a text may have 100,000 letters, this one has 200,000"),
        ("\udcff", "must be UTF-8"),
    ],
    ids=["nothing", "blank", "white space", "long", "bytes"],
)
def test_texts_that_are_none_are_wrong_usage(fda: Commands, place: Path, text: str, message: str) -> None:
    ended = fda("search", place, text)
    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert fda("search", place, "--video", text).code == 2


def test_a_text_of_which_nothing_is_left(fda: Commands, place: Path) -> None:
    ended = fda("search", place, "\x00\x01")
    assert ended.code in (0, 1)
    assert ended.code == 0 or NOTHING_READ in ended.error_line


def _bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a hundred bytes."""

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = part(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + part(b"IDAT", zlib.compress(b"\0" * 100)) + part(b"IEND", b"")


def test_pictures_that_cannot_be_read(fda: Commands, place: Path, picture: Path, tmp_path: Path) -> None:
    contents = {
        "empty.png": b"",
        "cut.png": picture.read_bytes()[:-2000],
        "text.jpg": b"this is no picture",
        "bomb.png": _bomb(),
        "half.gif": b"GIF89a",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "fifo.png")
    said = {
        "missing.png": "there is no file",
        "empty.png": "is empty",
        "cut.png": "is not a whole picture",
        "text.jpg": "is not a picture that can be read",
        "bomb.png": "has more than 134,217,728 pixels",
        "half.gif": "is no",
        "folder.png": "is a folder",
        "fifo.png": "is not a file",
    }
    for name, words in said.items():
        ended = fda("search", place, "--image", tmp_path / name)
        assert (ended.code, ended.out) == (1, ""), name
        assert words in ended.error_line, ended.error_line
        assert name in ended.error_line


def test_numbers_and_names_that_are_wrong(fda: Commands, place: Path) -> None:
    for flags, code, words in (
        (["--top", "0"], 2, "at least 1, got 0"),
        (["--motion", "5"], 2, "no range such as"),
        (["--motion", "0.5-0.1"], 2, "lowest to the highest"),
        (["--motion", "5-50"], 2, "'5-50' is more than the whole picture: write 5%-50%"),
        (["--motion", "5-"], 2, "lowest to the highest"),
        (["--motion", "50%-150%"], 2, "more than the whole picture"),
        (["--duration", "1%-50%"], 2, "no range such as 10-30 or 10-"),
        (["--duration", "x-y"], 2, "no range such as"),
        (["--split", "val"], 1, "no split 'val'"),
        (["--features", "other"], 1, "no features 'other'"),
        (["--category", "Sports"], 1, "no video has the category 'Sports'"),
        (["--video", "test_9"], 1, "no video 'test_9'"),
        (["--caption", "test_0#"], 1, "Did you mean"),
        (["--queries", "gone.txt"], 1, "'gone.txt': No such file"),
        (["--html", "page.txt"], 2, "must end in .html"),
        (["--overwrite"], 2, "--overwrite is for the page of --html"),
        (["--model", "ViT-B-32"], 2, "--model and --pretrained go together"),
    ):
        ended = fda("search", place, "--video", "test_0", *flags)
        assert (ended.code, ended.out) == (code, ""), flags
        assert words in ended.err, ended.err
    assert fda("search", place).code == 2
    assert "give a query" in fda("search", place).err
    every = json.loads(fda("search", place, "--video", "test_0", "--top", str(10**9), "--json").out)
    assert len(every["answers"][0]["hits"]) == 5


def test_no_page_is_written_into_a_store(fda: Commands, tmp_path: Path) -> None:
    one, two = (searchable(tmp_path / name, random_frames(2)).place for name in ("one", "two"))
    for inside in (one, two):
        ended = fda("search", one, "--also", two, "--video", "-vidéo_0", "--html", f"{inside}/found.html")
        assert (ended.code, ended.out) == (1, "")
        assert f"would lie in the store {inside}, which has its own files only" in ended.error_line
        assert not Path(inside, "found.html").exists()


def test_stores_that_cannot_be_searched(fda: Commands, tmp_path: Path) -> None:
    single = searchable(tmp_path / "single", random_frames(1))
    alone = fda("search", single.place, "--video", "-vidéo_0")
    assert (alone.code, "nothing found" in alone.out) == (0, True)
    (tmp_path / "empty").mkdir()
    for name in ("empty", "gone"):
        ended = fda("search", tmp_path / name, "a dog")
        assert (ended.code, ended.out) == (1, "")
        assert "no store at" in ended.error_line


def test_a_store_in_a_bucket(fda: Commands, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    from tests.s3 import place_of, use_server

    use_server(request.getfixturevalue("monkeypatch"), request.getfixturevalue("server"))
    there = searchable(f"{place_of(request)}/store", random_frames(3))
    here = searchable(tmp_path / "store", random_frames(3))

    def hits(store: Store) -> object:
        ended = fda("search", store.place, "--video", "-vidéo_1", "--by", "frame", "--motion", "0-1", "--json")
        assert ended.code == 0, ended.err
        (answer,) = json.loads(ended.out)["answers"]
        return [{key: value for key, value in hit.items() if key != "store"} for hit in answer["hits"]]

    assert hits(there) == hits(here)


@pytest.mark.parametrize("width", [80, 120])
def test_the_table_fits_the_terminal(place: Path, width: int) -> None:
    import fda as api
    from cli.output.search import print_answers

    result = api.search(place, api.Query("test_0", "video"))  # type: ignore[arg-type]
    with terminal(width) as screen:
        print_answers(result, api.Find.VIDEOS)
    assert max(map(len, screen.lines[:-1])) <= width
    assert [line.split()[0] for line in screen.lines[4:9]] == ["1", "2", "3", "4", "5"]  # a line each


class _Page(HTMLParser):
    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_has_every_hit_with_its_frames_and_loads_nothing(fda: Commands, place: Path, tmp_path: Path) -> None:
    evil = "<script>alert(1)</script>"
    pages = []
    for name, text in (("plain", "plain"), ("evil", evil)):
        ended = fda("search", place, text, "--video", "test_0", "--html", tmp_path / f"{name}.html")
        assert ended.code == 0
        assert ended.err.splitlines()[-1] == f"page: {tmp_path / name}.html"
        pages.append(_Page(tmp_path / f"{name}.html"))
    plain, found = pages
    assert sorted(set(found.tags)) == sorted(set(plain.tags))
    assert "script" not in found.tags
    assert evil in found.text
    assert all(source.startswith("data:image/") for source in plain.sources)
    assert plain.tags.count("article") == 11
    assert plain.text.count("score ") == 11
    for path, words in ((tmp_path / "no folder/page.html", "no folder"), (tmp_path / "evil.html", "exists already")):
        refused = fda("search", place, "--video", "test_0", "--html", path)
        assert (refused.code, refused.out) == (1, "")
        assert words in refused.error_line
    assert fda("search", place, "--video", "test_0", "--html", tmp_path / "evil.html", "--overwrite").code == 0


def test_the_page_of_a_store_whose_frames_are_gone(
    fda: Commands, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = searchable(tmp_path / "store", random_frames(6))
    for path in (tmp_path / "store/clips.zarr/test/frames").glob("c.*"):
        path.write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    ended = fda("search", store.place, "--video", "-vidéo_0", "--html", "page.html", "--json")
    assert (ended.code, json.loads(ended.out)["page"]) == (0, str(tmp_path / "page.html"))
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count("no stored frame") == 5
