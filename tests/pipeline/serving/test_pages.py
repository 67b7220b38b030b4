"""What the pages of `fda serve` show, and that their addresses say all of it."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlencode

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

import fda
from pipeline.errors import OptionError
from pipeline.search.options import By, Find, Query, QueryKind, SearchOptions
from pipeline.search.run import search
from pipeline.serving.address import PAGE_SIZES, SHOWN, Address
from store.catalog import CAPTIONS_NAME, Catalog
from store.growth import create_store
from tests.pipeline.serving.conftest import HOST
from tests.serving import HOSTILE_CAPTIONS, HOSTILE_ID, Page, ServedStore
from tests.stores import fill_store, make_catalog, make_manifest, make_store, tree_digest

TEXT = st.text(max_size=30)
RANGES = st.tuples(st.integers(0, 50), st.integers(50, 99)).map(lambda pair: f"{pair[0]}..{pair[1]}")
ADDRESSES = st.builds(
    Address,
    query=TEXT,
    kind=st.sampled_from(["", "text", "video", "caption"]),
    image=TEXT,
    find=st.sampled_from(Find),
    by=st.sampled_from(By),
    features=TEXT,
    versus=TEXT,
    splits=st.lists(TEXT, unique=True).map(tuple),
    categories=st.lists(TEXT, unique=True).map(tuple),
    motion=st.just("") | RANGES,
    seconds=st.just("") | RANGES,
    camera=st.sampled_from(["", "moves", "rests"]),
    page=st.integers(1, 1000),
    size=st.sampled_from(PAGE_SIZES),
    store=st.integers(0, 9),
    video=TEXT,
    time=st.none() | st.integers(0, 10**7).map(lambda milliseconds: milliseconds / 1000),
    masks=TEXT,
    show=st.sampled_from(SHOWN),
)


def get(client: TestClient, path: str = "/", **query: object) -> Page:
    answer = client.get(f"{path}?{urlencode(query, doseq=True)}")
    assert answer.status_code == 200, answer.text
    return Page(answer.text)


@given(ADDRESSES)
def test_an_address_says_all_of_a_page(address: Address) -> None:
    from urllib.parse import parse_qsl, urlsplit

    parts = urlsplit(address.to("/video"))
    assert parts.path == "/video"
    assert Address.parse(parse_qsl(parts.query, keep_blank_values=True)) == address
    assert Address.parse(address.hidden()) == address


@pytest.mark.parametrize(
    "pair",
    [("page", "0"), ("page", "x"), ("t", "-1"), ("t", "nan"), ("kind", "x"), ("motion", "9..1"), ("seconds", "1")],
)
def test_an_address_that_cannot_be_is_refused(client: TestClient, pair: tuple[str, str]) -> None:
    with pytest.raises(OptionError):
        Address.parse([pair])
    answer = client.get("/", params=dict([pair]))
    assert answer.status_code == 400
    assert "error" in Page(answer.text).text.lower()


def test_the_whole_set_is_there_page_by_page(client: TestClient, served: ServedStore) -> None:
    ids = fda.open_store(served.place).videos()["video_id"].to_pylist()
    assert sorted(get(client).cards) == sorted(ids)
    first, second = get(client, size=12), get(client, size=12, page=2)
    assert first.cards == ids
    assert second.cards == []
    assert "There is no page 2" in second.text


def test_facets_have_the_counts_of_what_they_lead_to(client: TestClient) -> None:
    page = get(client)
    links = [its["href"] for tag, its in page.elements if tag == "a" and "category=" in its.get("href", "")]
    assert len(links) == 2
    for link in links:
        assert f"{len(Page(client.get(link).text).cards)}" in page.text
    assert get(client, category="grey").cards == ["walk", "old"]
    assert get(client, category=["grey", "square"], split="train").cards == ["square_2"]
    assert set(get(client, seconds="1.5..3.5").cards) == {"walk", "old"}
    assert "No video passes these filters" in get(client, category="none such").text


@pytest.mark.parametrize("by", ["video", "frame"])
def test_a_text_finds_what_fda_search_finds_with_the_score_of_each_frame(
    client: TestClient, served: ServedStore, by: str
) -> None:
    (answer,) = search(served.place, "a grey", SearchOptions(("mine",), by=By(by), top=25)).answers
    page = get(client, q="a grey", by=by)
    assert page.cards == [hit.video_id for hit in answer.hits]
    hit, strip = answer.hits[0], page.of("a", "cell")
    assert [float(its["data-t"]) for its in strip[: len(hit.frames)]] == pytest.approx(
        [frame.seconds for frame in hit.frames], abs=1e-3
    )
    assert [its["title"].rpartition(" ")[2] for its in strip[: len(hit.frames)]] == [
        f"{frame.score:.4f}" for frame in hit.frames
    ]
    assert hit.moment is not None
    (poster, *_) = page.of("a", "poster")
    assert f"t={hit.moment.seconds:.3f}".rstrip("0") in poster["href"]


def test_an_id_in_the_box_finds_what_is_like_it(client: TestClient, served: ServedStore) -> None:
    (answer,) = search(served.place, Query("walk", QueryKind.VIDEO), SearchOptions(("mine",), top=25)).answers
    page = get(client, q="walk")
    assert page.cards == [hit.video_id for hit in answer.hits]
    assert "search the words instead" in page.text
    assert "search the words instead" not in get(client, q="walk", kind="text").text
    assert "By the caption" in get(client, q="walk#0").text


def test_two_feature_sets_side_by_side_say_how_ranks_change(client: TestClient, served: ServedStore) -> None:
    options = SearchOptions(("mine", "other"), top=25)
    mine, other = search(served.place, Query("walk", QueryKind.VIDEO), options).answers
    ranks = {hit.video_id: hit.rank for hit in other.hits}
    page = get(client, q="walk", features="mine", versus="other")
    assert page.cards == [hit.video_id for answer in (mine, other) for hit in answer.hits]
    changes = [ranks[hit.video_id] - hit.rank for hit in mine.hits]
    shown = [its["title"] for its in page.of("span", "change")]
    assert [title.startswith("the same") for title in shown[: len(changes)]] == [change == 0 for change in changes]
    words = [f"{abs(change)} ranks {'higher' if change > 0 else 'lower'}" for change in changes]
    assert all(word in title for word, title, change in zip(words, shown, changes, strict=False) if change)


def test_captions_are_found_too(client: TestClient) -> None:
    page = get(client, q="walk", kind="video", find="captions")
    assert "captions compared" in page.text
    assert set(page.cards) <= {"walk", "old", "part", "mpeg", "web", HOSTILE_ID, "square_2", "square_3"}


def test_a_videos_page_has_captions_with_ranks_masks_and_neighbours(client: TestClient, served: ServedStore) -> None:
    view = fda.open_store(served.place)
    found = view.similarities("mine")
    row = found.caption_ids.index("walk#1")
    rank = int((found.matrix[row] >= found.matrix[row, found.truth[row]]).sum())
    page = get(client, "/video", v="walk", features="mine")
    assert f"it gets light {rank} {found.matrix[row, found.truth[row]]:.4f}" in page.text
    assert any("masks=default" in its["src"] for its in page.of("img", "film"))
    (answer,) = search(served.place, Query("walk", QueryKind.VIDEO), SearchOptions(("mine",), top=25)).answers
    assert page.cards == [hit.video_id for hit in answer.hits if hit.video_id != "walk"][:12]


def test_the_video_that_an_address_selects_is_in_the_page(client: TestClient) -> None:
    page = get(client, q="a grey", v="old", t="1.5")
    (player,) = page.of("section", "player")
    assert (player["data-name"], player["data-t"]) == ("0:old", "1.500")
    panel = get(client, "/panel", q="a grey", v="old", t="1.5")
    assert panel.of("section", "player") == [player]
    (part,) = get(client, v="part").of("section", "player")
    assert (part["data-start"], part["data-end"]) == ("1.0", "2.0")
    assert client.get("/video", params={"v": "none such"}).status_code == 404


def test_texts_of_anybody_are_texts(client: TestClient) -> None:
    for path, query in (
        ("/", {}),
        ("/", {"q": HOSTILE_ID}),
        ("/video", {"v": HOSTILE_ID}),
        ("/", {"q": HOSTILE_CAPTIONS[0]}),
    ):
        page = get(client, path, **query)
        assert {its.get("src") for its in page.of("script")} == {"/static/serve.js"}
        assert not any(name.startswith("on") or name == "style" for _, its in page.elements for name in its)
        assert not any(its.get("href", "").startswith("javascript") for _, its in page.elements)
        assert page.of("li", "card")
    page = get(client, "/video", v=HOSTILE_ID)
    assert HOSTILE_ID in page.text
    assert "{{ 7*7 }}" in page.text
    assert HOSTILE_CAPTIONS[0] in page.text
    assert "long " * 999 in page.text
    assert "\u241b[31m" in page.text
    assert "\x1b" not in page.html
    assert all(its.get("dir") == "auto" for its in page.of("a", "plain"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (" ", "The query is empty"),
        ("x" * 10_000, "Only the first 1,000 of 10,000 characters"),
        ("犬が走る" * 1500, "Only the first 1,000 of 6,000 characters"),
    ],
)
def test_odd_queries_are_answered(client: TestClient, query: str, words: str) -> None:
    answer = client.get("/", params={"q": query, "kind": "" if query.isspace() else "text"})
    page = Page(answer.text)
    assert words in page.text
    assert page.cards


def test_flagged_videos_are_listed_and_downloaded(client: TestClient, served: ServedStore) -> None:
    names = {"f": ["0:walk", f"0:{HOSTILE_ID}", "0:none such", "7:walk", "x"]}
    page = Page(client.get("/list", params=names).text)
    assert page.cards == ["walk", HOSTILE_ID]
    assert "3 of the list are not in these stores" in page.text
    assert client.get("/list/txt", params=names).text == f"walk\n{HOSTILE_ID}\n"
    rows = list(csv.DictReader(io.StringIO(client.get("/list/csv", params=names).text)))
    assert [row["video_id"] for row in rows] == ["walk", HOSTILE_ID]
    answer = client.get("/list/json", params=names)
    assert answer.headers["content-disposition"] == 'attachment; filename="flagged.json"'
    assert json.loads(answer.text)[0] == {
        "store": str(served.place),
        "split": "test",
        "row": 0,
        "video_id": "walk",
        "path": "videos/walk.mp4",
    }
    assert client.get("/list/exe", params=names).status_code == 404


def test_frames_come_as_pictures_with_masks(client: TestClient, served: ServedStore) -> None:
    import cv2

    def picture(**more: str) -> np.ndarray:
        query = {"s": "0", "id": "square_2", "slots": "0,2", "side": "32", **more}
        answer = client.get("/frame", params=query)
        assert answer.headers["content-type"] == "image/jpeg"
        assert client.get("/frame", params=query, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
        return np.asarray(cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR))[:, :, ::-1]

    frames = fda.open_store(served.place).frames("square_2")[[0, 2]]
    expected = np.concatenate(list(frames), axis=1).astype(int)
    assert np.abs(picture() - expected).mean() < 6
    assert not np.array_equal(picture(), picture(masks="default"))
    assert not np.array_equal(picture(masks="default"), picture(masks="default", show="outline"))


@pytest.mark.parametrize(
    "more", [{"slots": ""}, {"slots": "x"}, {"side": "9999"}, {"slots": "-1"}, {"slots": ",".join(["0"] * 99)}]
)
def test_pictures_that_cannot_be_are_refused(client: TestClient, more: dict[str, str]) -> None:
    assert client.get("/frame", params={"s": 0, "id": "walk", "slots": "0", "side": "32", **more}).status_code == 400


@pytest.mark.parametrize(
    "more",
    [{"id": "none such"}, {"slots": "60"}, {"masks": "none such"}, {"masks": "../x"}, {"id": "gone"}, {"s": "7"}],
)
def test_pictures_that_are_not_there_are_missing(client: TestClient, more: dict[str, str]) -> None:
    assert client.get("/frame", params={"s": 0, "id": "walk", "slots": "0", "side": "32", **more}).status_code == 404


def test_a_video_without_a_clip_says_why(client: TestClient) -> None:
    assert "It has no frames: missing, there is no such file." in get(client).text
    assert "It has no frames: corrupt" in get(client, v="text").text


def test_a_store_without_features_can_be_looked_at(tmp_path: Path) -> None:
    fill_store(make_store(tmp_path / "store", 1))
    with TestClient(fda.create_app(tmp_path / "store"), base_url=HOST) as client:
        assert len(get(client).cards) == 1
        assert "There are no features to search by" in get(client, q="a dog").text
        assert "There are no features to compare videos by" in get(client, "/video", v="-vidéo_0").text


def test_a_store_without_clips_can_be_looked_at(tmp_path: Path) -> None:
    make_store(tmp_path / "pending", 2)
    with TestClient(fda.create_app(tmp_path / "pending"), base_url=HOST) as client:
        assert "Its frames are not in the store yet" in get(client).text


def test_videos_that_come_while_it_serves_are_shown(tmp_path: Path) -> None:
    store = make_store(tmp_path / "store", 2)
    app = fda.create_app(tmp_path / "store", fda.ServeOptions(check_seconds=0))
    with TestClient(app, base_url=HOST) as client:
        assert "Its frames are not in the store yet" in get(client).text
        fill_store(store)
        assert "Its frames are not in the store yet" not in get(client).text


def test_captions_that_are_updated_while_it_serves_are_shown(tmp_path: Path) -> None:
    """Also where they were not read before; while the update is under way, pages are refused."""
    folder, before = make_store(tmp_path / "store", 2).folder, make_catalog(2)
    texts = [text.replace("caption", "other words") for text in before.captions["text"].to_pylist()]
    captions = before.captions.set_column(4, before.captions.schema.field(4), pa.array(texts))
    after, manifest = Catalog.of_tables([before.videos], [captions]), make_manifest(2)
    manifest = replace(manifest, dataset={**manifest.dataset, "digest": after.digest()})
    app = fda.create_app(folder.place, fda.ServeOptions(check_seconds=0))
    with TestClient(app, base_url=HOST) as client:
        assert client.get("/frame", params={"s": 0, "id": "-vidéo_0", "slots": "0"}).status_code == 404
        folder.write(CAPTIONS_NAME, after.caption_rows.content())
        refused = client.get("/video", params={"v": "-vidéo_0"})
        assert (refused.status_code, "a run has updated its captions" in refused.text) == (500, True)
        create_store(folder, manifest, after, update_captions=True)
        assert "other words 0 of 0" in get(client, "/video", v="-vidéo_0").text


def test_several_stores_are_one_set(tmp_path: Path, served: ServedStore) -> None:
    fill_store(make_store(tmp_path / "store", 2))
    with TestClient(fda.create_app([served.place, tmp_path / "store"]), base_url=HOST) as client:
        page = get(client)
        assert page.cards[-2:] == ["-vidéo_0", "-vidéo_1"]
        assert page.of("li", "card")[-1]["data-name"] == "1:-vidéo_1"
        assert get(client, s=1, v="-vidéo_1").of("section", "player")[0]["data-name"] == "1:-vidéo_1"


def test_without_its_model_a_store_is_searched_by_ids(served: ServedStore, tmp_path: Path) -> None:
    nowhere = fda.ModelSource(checkpoint=tmp_path / "nowhere")
    with TestClient(fda.create_app(served.place, model=nowhere), base_url=HOST) as client:
        page = get(client, q="a grey", kind="text")
        assert "nowhere" in page.text
        assert "needs no model" in page.text
        assert get(client, q="walk").cards


def test_serving_changes_nothing_in_the_store(client: TestClient, served: ServedStore) -> None:
    before = tree_digest(served.place, leave_out=())
    for address in (
        "/",
        "/?q=walk&v=old",
        "/video?v=walk",
        "/media/about?s=0&id=walk",
        f"/video?v={quote(HOSTILE_ID)}",
    ):
        assert client.get(address).status_code == 200
    assert tree_digest(served.place, leave_out=()) == before
