"""Who is answered, and which files can be read."""

from __future__ import annotations

import dataclasses
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import fda
from pipeline.serving.guard import HEADERS
from store.catalog import Catalog
from store.growth import create_store
from store.places.opening import folder_at
from store.schema import Caption, Video
from tests.pipeline.serving.conftest import HOST
from tests.serving import Page, ServedStore
from tests.stores import make_manifest


def png(side: int = 40) -> bytes:
    content = io.BytesIO()
    Image.fromarray(np.full((side, side, 3), 90, np.uint8)).save(content, "PNG")
    return content.getvalue()


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost", "LOCALHOST:1", "[::1]:8765", "localhost."])
def test_names_of_this_machine_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/list", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example:8765",
        "",
        "localhost@evil.example",
        "192.168.1.7",
        "evil.example:localhost",
    ],
)
def test_other_names_are_refused(client: TestClient, host: str) -> None:
    """A page elsewhere may let its own name point to this machine."""
    for path in ("/", "/media?s=0&id=walk", "/static/serve.js"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 403
        assert "--allow-host" in answer.text


def test_a_name_can_be_allowed(served: ServedStore) -> None:
    options = fda.ServeOptions(host="0.0.0.0", allowed_hosts=("videos.example",))
    with TestClient(fda.create_app(served.place, options), base_url=HOST) as client:
        for host, status in (("videos.example", 200), ("192.168.1.7:8765", 200), ("evil.example", 403)):
            assert client.get("/list", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate"}, 200),  # a link in a mail
        ({"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}, 403),
        ({"sec-fetch-site": "same-site", "sec-fetch-mode": "cors"}, 403),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://127.0.0.1:1"}, 403),
        ({"origin": HOST}, 200),
    ],
)
def test_pages_of_other_servers_are_refused(client: TestClient, headers: dict[str, str], status: int) -> None:
    assert client.get("/media?s=0&id=walk", headers=headers).status_code == status
    assert client.get("/", headers=headers).status_code == status


def test_every_answer_has_the_headers(client: TestClient) -> None:
    for path in (
        "/",
        "/none",
        "/?page=x",
        "/media?s=0&id=walk",
        "/frame?s=0&id=walk&slots=0&side=32",
        "/static/serve.css",
    ):
        answer = client.get(path)
        assert {name: answer.headers[name] for name in HEADERS} == HEADERS
        assert "access-control-allow-origin" not in answer.headers
    assert client.get("/", headers={"host": "evil"}).headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
def test_nothing_is_changed_by_request(client: TestClient, method: str) -> None:
    assert client.request(method, "/", headers={"origin": HOST}).status_code == 405
    assert client.request(method, "/").status_code == 403


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2fapp.py",
        "/static/parts.html",
        "/media/../static/x",
        "/etc/passwd",
        "//etc/passwd",
        "/list/..%2f..%2fetc%2fpasswd",
    ],
)
def test_no_other_file_is_read_by_path(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize(
    "video_id", ["../videos/walk.mp4", "/etc/passwd", "videos/walk.mp4", "file:///etc/passwd", "", "walk\x00"]
)
def test_no_other_file_is_read_by_id(client: TestClient, video_id: str) -> None:
    assert client.get("/media", params={"s": 0, "id": video_id}).status_code == 404
    about = client.get("/media/about", params={"s": 0, "id": video_id})
    assert about.json()["problem"]


def test_a_catalogue_that_leads_elsewhere_is_not_followed(tmp_path: Path, served: ServedStore) -> None:
    paths = ["../videos/walk.mp4", str(served.videos / "walk.mp4"), "a/../../videos/walk.mp4", "secret.txt"]
    videos = [Video(f"v{row}", "test", row, path) for row, path in enumerate(paths)]
    captions = [Caption(f"v{row // 2}#{row % 2}", f"v{row // 2}", "test", row, "x") for row in range(2 * len(videos))]
    manifest = make_manifest(len(videos))
    create_store(folder_at(tmp_path / "store"), manifest, Catalog.of(videos, captions))
    (served.videos / "secret.txt").write_text("not for browsers")
    options = fda.ServeOptions(videos=served.videos, conversion=fda.ConversionOptions(folder=tmp_path / "cache"))
    with TestClient(fda.create_app(tmp_path / "store", options), base_url=HOST) as client:
        for video in videos:
            assert client.get("/media", params={"s": 0, "id": video.video_id}).status_code == 404
    (served.videos / "secret.txt").unlink()


class TestPictures:
    """Searching by a picture that is given."""

    def give(self, client: TestClient, content: bytes, **headers: str) -> dict[str, str]:
        answer = client.post("/image", content=content, headers={"origin": HOST, **headers})
        return dict(answer.json())

    def test_one_that_is_given_is_searched_by(self, client: TestClient) -> None:
        digest = self.give(client, png())["image"]
        assert client.get("/image", params={"d": digest}).headers["content-type"] == "image/png"
        page = Page(client.get("/", params={"image": digest}).text)
        assert len(page.cards) == 9
        assert self.give(client, png())["image"] == digest

    def test_one_that_has_gone_says_so(self, client: TestClient) -> None:
        page = Page(client.get("/", params={"image": "0" * 32}).text)
        assert "not on the server any more" in page.text
        assert client.get("/image", params={"d": "../../x"}).status_code == 404

    @pytest.mark.parametrize("content", [b"", b"<svg onload=alert(1)>", png()[:60], b"GIF89a" + b"\xff" * 99])
    def test_what_is_no_picture_is_refused(self, client: TestClient, content: bytes) -> None:
        assert "not a picture" in self.give(client, content)["problem"]

    def test_one_that_is_too_large_is_refused(self, client: TestClient) -> None:
        assert "more than 16 MiB" in self.give(client, bytes(17 << 20))["problem"]

    def test_another_page_cannot_give_one(self, client: TestClient) -> None:
        for headers in ({}, {"origin": "http://evil.example"}, {"origin": "null"}):
            assert client.post("/image", content=png(), headers=headers).status_code == 403

    def test_they_go_with_the_server(self, served: ServedStore) -> None:
        app = fda.create_app(served.place)
        with TestClient(app, base_url=HOST) as client:
            digest = self.give(client, png())["image"]
        assert client.get("/image", params={"d": digest}).status_code == 404


def test_options_are_checked() -> None:
    for wrong in ({"port": 70000}, {"host": " "}):
        with pytest.raises(fda.OptionError):
            fda.ServeOptions(**wrong)
    with pytest.raises(fda.OptionError, match="at_once"):
        dataclasses.replace(fda.ConversionOptions(), at_once=0)
