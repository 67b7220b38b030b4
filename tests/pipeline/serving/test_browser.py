"""`fda serve` as people use it: a real server, and a real browser."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from tests.browser import Tab, browser_path, started_browser
from tests.seed import drawn
from tests.serving import HOSTILE_ID, NUM_NUMBERED, RATE, ServedStore, number_in, server_of

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PLAYS = "() => document.querySelector('#player')?.dataset.ready === 'yes'"
"""A function, and no expression: the page forbids `eval`, by which that would be asked again."""
FRAME = """async (seconds) => {
  const video = document.querySelector('#video');
  while (video.seeking) await new Promise((done) => video.addEventListener('seeked', done, {once: true}));
  await new Promise((done) => video.requestVideoFrameCallback ? setTimeout(done, 30) : done());
  const canvas = document.createElement('canvas');
  [canvas.width, canvas.height] = [64, 48];
  canvas.getContext('2d').drawImage(video, 0, 0, 64, 48);
  return canvas.toDataURL('image/png');
}"""


@pytest.fixture(scope="module")
def base(served: ServedStore, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server in a process of its own."""
    browser_path()
    with server_of(served.place, tmp_path_factory.mktemp("playable")) as url:
        yield url


@pytest.fixture(scope="module")
def browser(base: str) -> Iterator[Browser]:
    with started_browser() as browser:
        yield browser


def shown_number(tab: Tab) -> int:
    """The number of the frame that the player shows."""
    content = base64.b64decode(tab.page.evaluate(FRAME, None).partition(",")[2])
    return number_in(np.asarray(Image.open(BytesIO(content)).convert("RGB")))


def address(page: Page) -> str:
    """Of the page now: `page.url` is a copy, which follows a moment later where a script changes it."""
    return str(page.evaluate("() => location.href"))


def time_in(tab: Tab) -> float:
    found = re.search(r"[?&]t=([\d.]+)", address(tab.page))
    assert found is not None
    return float(found[1])


def test_a_query_is_typed_and_a_result_plays_at_its_moment(browser: Browser, base: str) -> None:
    tab = Tab.of(browser, base)
    page = tab.page
    tab.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("a grey that grows")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?q=a+grey+that+grows")
    card = page.locator(".card[data-name='0:walk']")
    card.locator(".poster").click()
    page.wait_for_function(PLAYS)
    moment = float(card.get_attribute("data-t") or "nan")
    page.wait_for_function("(moment) => document.querySelector('#video').currentTime > moment + 0.2", arg=moment)
    page.keyboard.press(" ")
    page.wait_for_function("() => document.querySelector('#video').paused")
    assert "v=walk" in address(page)
    cell = page.locator(".player .strip:not(.masked) .cell").nth(2)
    cell.click()
    wanted = float(cell.get_attribute("data-t") or "nan")
    page.wait_for_function(
        "(t) => !document.querySelector('#video').seeking && location.search.includes('t=' + t)", arg=f"{wanted:g}"
    )
    assert shown_number(tab) == round(wanted * RATE)
    assert "masks=default" in (page.locator("#stored").get_attribute("src") or "")
    shared = address(page)
    page.reload()
    page.wait_for_function(PLAYS)
    assert (address(page), shown_number(tab)) == (shared, round(wanted * RATE))
    second = Tab.of_page(page.context.new_page(), base)
    second.page.goto(shared)
    second.page.wait_for_function(PLAYS)
    assert shown_number(second) == round(wanted * RATE)
    assert second.page.input_value("#q") == "a grey that grows"
    second.check()
    page.go_back()
    page.wait_for_function("() => !document.querySelector('#player')")
    assert "v=" not in address(page)
    page.go_forward()
    page.wait_for_function(PLAYS)
    assert address(page) == shared
    tab.check()
    page.context.close()


def test_every_moment_shows_its_frame(browser: Browser, base: str) -> None:
    """As it is, copied out of an AVI with B frames, and transcoded, both of them parts: at an end, and at others."""
    tab, rng = Tab.of(browser, base), drawn("moments of videos")
    for video_id, first, last in (("walk", 0, NUM_NUMBERED - 1), ("old", 36, NUM_NUMBERED - 1), ("mpeg", 6, 23)):
        for number in (rng.choice((first, last)), rng.randint(first + 1, last - 1)):
            tab.goto(f"/video?v={video_id}&t={number / float(RATE):.3f}")
            tab.page.wait_for_function(PLAYS)
            assert (video_id, shown_number(tab)) == (video_id, number)
    tab.check()
    tab.page.context.close()


def test_a_clip_that_is_a_part_of_a_video_plays_its_part(browser: Browser, base: str) -> None:
    tab = Tab.of(browser, base)
    tab.goto("/?v=part")
    tab.page.wait_for_function(PLAYS)
    assert shown_number(tab) == 30
    tab.page.keyboard.press(" ")
    tab.page.wait_for_function("() => document.querySelector('#video').currentTime > 1.3")
    tab.page.wait_for_function("() => document.querySelector('#video').paused")
    assert time_in(tab) == pytest.approx(2.0, abs=0.3)
    tab.check()
    tab.page.context.close()


STANDS_STILL = """() => {
  const video = document.querySelector("#player video"), given = new URLSearchParams(location.search).get("t");
  return video.paused && !video.seeking && given > 0;
}"""
"""A single frame is looked at, and the address has its time."""


def test_keys_flags_and_downloads(browser: Browser, base: str, tmp_path: Path) -> None:
    tab = Tab.of(browser, base, accept_downloads=True, viewport={"width": 390, "height": 844})
    page = tab.page
    tab.goto("/?category=grey")
    page.keyboard.press("?")
    assert page.locator("#keys").is_visible()
    page.keyboard.press("Escape")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("f")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("f")
    assert page.locator("#num-flagged").inner_text() == "2"
    page.keyboard.press("Enter")
    page.wait_for_function(PLAYS)
    assert page.locator("#player").get_attribute("data-name") == "0:old"
    for key, way in (("m", "outline"), ("m", "none"), ("m", "")):
        page.keyboard.press(key)
        assert re.search(r"show=(\w+)|$", address(page))[1] == (way or None)  # type: ignore[index]
    page.keyboard.press(".")
    page.wait_for_function(STANDS_STILL)
    assert time_in(tab) >= 1.2  # where the clip begins in its file
    page.keyboard.press("Escape")
    page.wait_for_function("() => !document.querySelector('#player')")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.reload()
    page.click("#flagged")
    page.wait_for_url("**/list?*")  # until it is loaded: a click waits only for its beginning
    assert page.locator(".card").count() == 2
    with page.expect_download() as download:
        page.click("text=Download txt")
    assert Path(download.value.path()).read_text() == "walk\nold\n"
    tab.check()
    page.context.close()


def test_hostile_texts_run_nothing_and_missing_videos_say_so(browser: Browser, base: str) -> None:
    tab = Tab.of(browser, base)
    page = tab.page
    tab.goto("/?size=50")
    for width in (390, 1280, 2560):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    page.locator(f'.card[data-name="0:{HOSTILE_ID}"] .poster').click()
    page.wait_for_function(PLAYS)
    assert "<script>" in page.locator("#player .caption").first.inner_text()
    assert page.title() == "all videos - fda"
    for video_id, words in (("gone", "gone.mp4 in"), ("text", "Invalid data")):
        page.locator(f'.card[data-name="0:{video_id}"] .poster').click()
        player = page.locator(f'#player[data-name="0:{video_id}"][data-ready="problem"]')
        player.wait_for()
        assert words in player.locator("#media-state").inner_text()
    tab.check()
    page.context.close()


def test_a_picture_is_dropped_into_the_page(browser: Browser, base: str, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), "grey").save(tmp_path / "grey.png")
    tab = Tab.of(browser, base)
    tab.goto("/")
    tab.page.set_input_files("#picture", tmp_path / "grey.png")
    tab.page.wait_for_url("**/?image=*")
    assert tab.page.locator(".chip.picture img").evaluate("(image) => image.complete && image.naturalWidth") == 64
    assert tab.page.locator(".card").count() == 9
    tab.check()
    tab.page.context.close()
