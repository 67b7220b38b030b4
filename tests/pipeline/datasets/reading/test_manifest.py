"""Manifests of other people: keys that are not known, keys of other names, videos without captions, absolute paths."""

from __future__ import annotations

import csv
import io
import json
import tracemalloc
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.datasets.options import SourceOptions
from pipeline.datasets.read import read_dataset
from pipeline.datasets.reading.manifest import OPTION_OF, OTHER_FIELDS, USUAL_NAMES, field_like
from pipeline.datasets.records import DatasetError
from pipeline.datasets.source import read_source
from tests.pipeline.datasets.files import facts, write

MANIFESTS = ("jsonl", "csv")
STANDARD = {"video_id": "a", "path": "a.mp4"}


def write_rows(folder: Path, layout: str, rows: Sequence[Mapping[str, object]]) -> Path:
    """Rows with the same keys, as `jsonl` or `csv`."""
    if layout == "jsonl":
        return write(folder / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    text = io.StringIO()
    table = csv.DictWriter(text, list(rows[0]))
    table.writeheader()
    table.writerows(rows)
    return write(folder / "a.csv", text.getvalue())


def warnings_of(source: Path, **options: object) -> tuple[str, ...]:
    return read_source(source, SourceOptions(**options)).report.warnings  # type: ignore[arg-type]


# --- keys that are not known -----------------------------------------------------------------------------------------

MISSPELT = ("start", "start_secconds", "startseconds", "Start-Seconds", "end", "end_secnods", "stop", "begin", "Split")
MISSPELT_OTHERS = ("spilt", "subset", "categry", "class")


@pytest.mark.parametrize("layout", MANIFESTS)
@pytest.mark.parametrize("key", [*MISSPELT, *MISSPELT_OTHERS])
def test_a_key_like_a_known_one_is_warned_of_by_itself(tmp_path: Path, layout: str, key: str) -> None:
    caption = "captions" if layout == "jsonl" else "caption"
    source = write_rows(tmp_path, layout, [{**STANDARD, caption: "x", key: "1"}])
    (warning,) = warnings_of(source)
    assert warning.startswith(f"line 1: key {key!r} is ignored: if it is {field_like(key)!r}, name it so")
    with pytest.raises(DatasetError, match=rf"is refused: line 1: key '{key}' .* Leave --strict out"):
        read_source(source, SourceOptions(strict=True))


@given(data=st.data(), field=st.sampled_from([*OPTION_OF, *OTHER_FIELDS]))
def test_a_slip_of_the_keyboard_is_recognised(data: st.DataObject, field: str) -> None:
    """One letter left out, doubled or changed, or two swapped: of the names with seven letters or more."""
    name = data.draw(st.sampled_from([one for one in (field, *USUAL_NAMES[field]) if len(one) >= 7]))
    at = data.draw(st.integers(1, len(name) - 2))
    slip = data.draw(
        st.sampled_from(
            [
                name[:at] + name[at + 1 :],
                name[:at] + name[at] + name[at:],
                name[:at] + "x" + name[at + 1 :],
                name[:at] + name[at + 1] + name[at] + name[at + 2 :],
                name.upper(),
            ]
        )
    )
    assert field_like(slip) is not None


def test_every_usual_name_means_one_field() -> None:
    names = [name for field, others in USUAL_NAMES.items() for name in (field, *others)]
    assert len(names) == len(set(names))
    assert all(field_like(name) == field for field, others in USUAL_NAMES.items() for name in (field, *others))


@pytest.mark.parametrize("key", ["fps", "width", "height", "licence", "sha256", "num_frames", "url", "codec", "", "x"])
def test_a_key_like_no_known_one_has_no_suggestion(key: str) -> None:
    assert field_like(key) is None


@pytest.mark.parametrize("layout", MANIFESTS)
def test_keys_without_a_meaning_are_told_in_one_sentence(tmp_path: Path, layout: str) -> None:
    caption = "captions" if layout == "jsonl" else "caption"
    source = write_rows(tmp_path, layout, [{**STANDARD, caption: "x", "fps": 1, "width": 2, "url": "u"}])
    assert warnings_of(source) == ("3 keys without a meaning here are ignored: 'fps', 'url', 'width'",)


def test_what_fda_generate_writes_beside_is_not_warned_of(tmp_path: Path) -> None:
    ours = {**STANDARD, "captions": "x", "fps": 12, "mover": "a", "truth": "truth/a.npz", "factors": {"speed": "slow"}}
    assert warnings_of(write_rows(tmp_path, "jsonl", [ours])) == ()
    theirs = write_rows(tmp_path, "jsonl", [{**ours, "width": 2}])
    assert warnings_of(theirs) == ("1 key without a meaning here is ignored: 'width'",)


def test_a_key_is_warned_of_once_and_with_its_first_line(tmp_path: Path) -> None:
    rows = [
        {"video_id": str(n), "path": f"{n}.mp4", "captions": ["x"]} | ({"start": 1} if n > 1 else {}) for n in range(9)
    ]
    rows[3]["start_seconds"] = 1
    first, *others = warnings_of(write_rows(tmp_path, "jsonl", rows))
    assert (first.split(":")[0], [one for one in others if "start" in one]) == ("line 3", [])


def test_a_line_of_a_hundred_thousand_keys_is_read_at_once(tmp_path: Path) -> None:
    row = {**STANDARD, "captions": ["x"], **{f"start_second{n}": 0 for n in range(30_000)}}
    warnings = warnings_of(write_rows(tmp_path, "jsonl", [row]))
    assert 1 < len(warnings) < 30
    assert sum(map(len, warnings)) < 10_000


# --- keys of other names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", MANIFESTS)
@pytest.mark.parametrize(
    ("names", "options"),
    [
        (("clip_id", "file", "text"), "--id-key clip_id --path-key file --caption-key text"),
        (("key", "filepath", "sentence"), "--id-key key --path-key filepath --caption-key sentence"),
        (("id", "video", "description"), "--id-key id --path-key video --caption-key description"),
        (("ID", "anything", "Sentence"), "--id-key ID --path-key anything --caption-key Sentence"),
    ],
)
def test_the_options_for_keys_of_other_names_are_told_and_do(
    tmp_path: Path, layout: str, names: tuple[str, str, str], options: str
) -> None:
    source = write_rows(tmp_path, layout, [dict(zip(names, ("-a", "b/a.mp4", "x"), strict=True))])
    with pytest.raises(DatasetError, match=rf"no 'video_id' and no 'path'; the keys are .*: give {options}$"):
        read_dataset(layout, source)
    words = options.split()
    keys = {word.removeprefix("--").replace("-", "_"): name for word, name in zip(words[::2], words[1::2], strict=True)}
    assert facts(read_dataset(layout, source, None, **keys)) == [("-a", "b/a.mp4", "test", ("x",))]
    assert warnings_of(source, **keys) == ()


@pytest.mark.parametrize("layout", MANIFESTS)
@pytest.mark.parametrize(("key", "name"), [("id_key", "vid"), ("path_key", "file"), ("caption_key", "txet")])
def test_a_key_that_is_named_and_not_there(tmp_path: Path, layout: str, key: str, name: str) -> None:
    source = write_rows(tmp_path, layout, [{**STANDARD, "text": "x"}])
    if layout == "csv" and key != "caption_key":  # the other one is enough
        source = write_rows(tmp_path, layout, [{"url": "x"}])
    with pytest.raises(DatasetError, match=f"no (key )?'{name}'"):
        read_dataset(layout, source, None, **{key: name})


@pytest.mark.parametrize("layout", MANIFESTS)
def test_captions_under_another_name_are_not_lost_in_silence(tmp_path: Path, layout: str) -> None:
    source = write_rows(tmp_path, layout, [{**STANDARD, "sentence": "a dog"}])
    unused, bare = warnings_of(source)
    assert unused.endswith("give --caption-key sentence")
    assert bare.startswith("1 of 1 video of test has no caption: 'a'")
    assert warnings_of(source, caption_key="sentence") == ()


# --- no captions -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "captions"),
    [
        ({}, ()),
        ({"captions": None}, ()),
        ({"captions": []}, ()),
        ({"captions": ""}, ()),
        ({"captions": " \t"}, ()),
        ({"captions": "a dog"}, ("a dog",)),
        ({"captions": ["a", "b"]}, ("a", "b")),
    ],
)
def test_captions_are_a_list_a_text_or_none(tmp_path: Path, row: dict[str, object], captions: tuple[str, ...]) -> None:
    dataset = read_dataset("jsonl", write_rows(tmp_path, "jsonl", [{**STANDARD, **row}]))
    assert dataset.videos[0].captions == captions


@pytest.mark.parametrize("paragraphs", [False, True])
def test_a_video_without_a_caption_is_kept_and_told(tmp_path: Path, paragraphs: bool) -> None:
    rows = [{"path": f"{n}.mp4", "caption": text} for n, text in enumerate(("x", "", "y", " "))]
    source = write_rows(tmp_path, "csv", rows)
    read = read_source(source, SourceOptions(paragraphs=paragraphs))
    assert [one.captions for one in read.dataset.videos] == [("x",), (), ("y",), ()]
    (split,) = read.report.splits
    assert (split.num_captions, split.num_without_captions, split.without_captions) == (2, 2, ("1", "3"))
    assert read.report.warnings[0].startswith("2 of 4 videos of test have no caption: '1', '3'. Decoding needs none")
    with pytest.raises(DatasetError, match="2 of 4 videos of data set 'a' have no caption: '1', '3'"):
        read_source(source, SourceOptions(require_captions=True))


# --- paths -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", MANIFESTS)
def test_absolute_paths_elsewhere_are_relative_to_what_they_share(tmp_path: Path, layout: str) -> None:
    far, notes = tmp_path / "far", tmp_path / "notes"
    rows = [{"video_id": name[-5], "path": f"{far}/{name}"} for name in ("a/x.mp4", "b//./y.MKV", "a/../z.mov")]
    source = write_rows(notes, layout, rows)
    read = read_source(source, SourceOptions())
    assert read.dataset.root == far
    assert [one.path for one in read.dataset.videos] == ["a/x.mp4", "b/y.MKV", "z.mov"]
    assert (
        f"its paths are absolute: videos are taken from {far} (name another folder with --videos"
        in list(read.summary())[1]
    )
    named = read_source(source, SourceOptions(videos=tmp_path))
    assert (named.dataset.root, len(list(named.summary()))) == (tmp_path, 2)
    assert [one.path for one in named.dataset.videos] == ["far/a/x.mp4", "far/b/y.MKV", "far/z.mov"]
    far.mkdir()
    (far / "a").mkdir()
    with pytest.raises(DatasetError, match=r"a\.\w+:\d: path '.*b//\./y\.MKV' leaves .*--videos"):
        read_source(source, SourceOptions(videos=far / "a"))


def test_absolute_paths_below_the_manifest_are_relative_to_it(tmp_path: Path) -> None:
    rows = [{"video_id": "a", "path": f"{tmp_path}/b/a.mp4"}, {"video_id": "b", "path": f"{tmp_path}/b/c.x"}]
    read = read_source(write_rows(tmp_path, "jsonl", rows), SourceOptions())
    assert (read.dataset.root, [one.path for one in read.dataset.videos]) == (tmp_path, ["b/a.mp4", "b/c.x"])
    assert len(list(read.summary())) == 2


@pytest.mark.parametrize("layout", MANIFESTS)
@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (("/far/a.mp4", "b.mp4"), r"path '/far/a\.mp4' is outside .*, where 'b\.mp4' is looked for: .*--videos"),
        (("b.mp4", "/far/a.mp4"), r"path '/far/a\.mp4' is outside .*, where 'b\.mp4' is looked for: .*--videos"),
        (("/far/a.mp4", "/near/a.mp4"), "have no folder in common but /: give --videos /"),
        (("/a.mp4",), "have no folder in common but /"),
        (("/etc/passwd",), "path '/etc/passwd' leaves .*--videos"),
        (("/far/a.mp4", "/far/../etc/shadow"), "path '/far/../etc/shadow' leaves .*--videos"),
        (("/dev/zero",), "path '/dev/zero' leaves"),
        (("../a.mp4",), r"path '\.\./a\.mp4' leaves .*or absolute\. --videos names that folder"),
        (("/far/a\0.mp4",), "path must be one line of text"),
    ],
)
def test_the_wall_around_a_manifest(tmp_path: Path, layout: str, paths: tuple[str, ...], message: str) -> None:
    if layout == "csv" and "\0" in "".join(paths):
        pytest.skip("a table has no NUL")
    source = write_rows(tmp_path, layout, [{"video_id": str(n), "path": path} for n, path in enumerate(paths)])
    with pytest.raises(DatasetError, match=message):
        read_dataset(layout, source)


@given(parts=st.lists(st.sampled_from(["..", ".", "a", "b c", "é"]), max_size=6), is_absolute=st.booleans())
def test_no_path_leaves_the_folder_that_was_named(
    tmp_path_factory: pytest.TempPathFactory, parts: list[str], is_absolute: bool
) -> None:
    root = tmp_path_factory.getbasetemp() / "walled"
    (root / "videos").mkdir(parents=True, exist_ok=True)
    path = "/".join([*([str(root / "videos")] if is_absolute else []), *parts, "x.mp4"])
    source = write_rows(root, "jsonl", [{"video_id": "a", "path": path}])
    try:
        dataset = read_dataset("jsonl", source, root / "videos")
    except DatasetError:
        return
    assert dataset.root == root / "videos"
    assert not {"..", "."} & set(dataset.videos[0].path.split("/"))


@pytest.mark.parametrize("layout", MANIFESTS)
def test_a_large_manifest_takes_little_memory(tmp_path: Path, layout: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As objects a video takes several hundred bytes, and its caption in what is reported of it 200.

    All are one file: pathlib interns names, and the table of those grows by megabytes at moments of its own.
    """
    monkeypatch.setattr("pipeline.datasets.packed._ROWS_AT_ONCE", 64)
    num = 4000
    rows = [{"video_id": f"video {n}", "path": "film.mp4", "caption": f"this is video {n}"} for n in range(num)]
    source, options = write_rows(tmp_path, layout, rows), SourceOptions(caption_key="caption")
    read_source(source, options)  # what is imported and cached by now is not counted
    tracemalloc.start()
    try:
        read_source(source, options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak / num < 150


def test_rows_of_a_video_that_are_apart_are_one_video(tmp_path: Path) -> None:
    rows = [{"video_id": name, "path": f"{name}.mp4", "caption": text} for name, text in ("a1", "b2", "a3", "a4", "b5")]
    read = read_source(write_rows(tmp_path, "csv", rows), SourceOptions())
    assert [(one.video_id, one.captions) for one in read.dataset.videos] == [("a", ("1", "3", "4")), ("b", ("2", "5"))]
    rows[4]["path"] = "c.mp4"
    with pytest.raises(DatasetError, match=r"a\.csv:6: video 'b' differs from line 3: path '.*/c\.mp4'"):
        read_source(write_rows(tmp_path, "csv", rows), SourceOptions())
