"""A page as a program sees it, for tests: tags that fit together, ids, links, alternative texts, what it loads."""

from __future__ import annotations

import base64
import hashlib
import re
from collections import Counter
from html.parser import HTMLParser

VOID = {"meta", "img", "br", "link", "hr", "input"}


class ParsedPage(HTMLParser):
    """Everything of a page that tests look at; refuses tags that are not closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.script = ""
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag == "img":
            assert dict(attrs).get("alt"), "a picture without an alternative text"
        if tag == "svg":
            assert dict(attrs).get("aria-label") or ("aria-hidden", "true") in attrs, (
                "a figure without an alternative text"
            )
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag, tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] == "script":
            self.script += data
        elif not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        """What a reader sees, with one space between words, and command lines that are continued in one."""
        return " ".join(" ".join(self.texts).replace("\\\n", " ").split())

    def values(self, name: str) -> list[str]:
        """The values of an attribute, of all tags."""
        return [value or "" for key, value in self.attributes if key == name]

    @property
    def titles(self) -> list[str]:
        """Of the sections, as the list of them names them."""
        return re.findall(r'<li><a href="#[a-z-]+">([^<]*)</a></li>', self.html)

    def check(self) -> None:
        """It loads nothing, runs its own script alone, and every link and reference in it leads somewhere."""
        assert "http:" not in self.html
        assert "https:" not in self.html
        assert not [value for value in self.values("src") if not value.startswith("data:image/")]
        assert not [name for name, _ in self.attributes if name.startswith("on")]
        digest = base64.b64encode(hashlib.sha256(self.script.encode()).digest()).decode()
        assert (
            f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
            in self.values("content")
        )
        ids = self.values("id")
        assert [name for name, number in Counter(ids).items() if number > 1] == []
        references = self.values("href") + re.findall(r"url\((#[^)]*)\)", self.html)
        assert [one for one in references if one.removeprefix("#") not in ids] == []
        for name in ("aria-labelledby", "for"):
            assert [value for value in self.values(name) if value not in ids] == []
