"""What is served: the stores as they are now, and the pages made of them."""

from __future__ import annotations

import csv
import io
import json
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from os import PathLike
from urllib.parse import urlencode

import numpy as np

from encoders.options import ModelSource
from pipeline.errors import InputError
from pipeline.pages.environment import templates_of
from pipeline.pages.texts import visible
from pipeline.run.events import Listener, Reporter
from pipeline.search.engine import SearchEngine
from pipeline.search.moments import clock
from pipeline.search.options import QueryKind
from pipeline.serving.address import MAX_QUERY, PAGE_SIZES, SHOWN, Address
from pipeline.serving.cards import Card, card_of, picture_url, player_of
from pipeline.serving.facets import facets_of
from pipeline.serving.library import Library, VideoKey
from pipeline.serving.neighbours import captions_with_ranks, neighbours_of
from pipeline.serving.options import ServeOptions
from pipeline.serving.pictures import Pictures
from pipeline.serving.results import Item, Results, feature_names, num_pages, results_of, score_range
from pipeline.serving.uploads import Uploads
from store.stages import masks_stage
from store.view import StoreView, open_store

_KEPT_RESULTS = 64
LIST_TYPES = {"txt": "text/plain; charset=utf-8", "csv": "text/csv; charset=utf-8", "json": "application/json"}
MAX_LISTED = 5000
"""Videos of a list that is downloaded."""
MAX_SHOWN = 200
"""Videos of a list that is shown."""


class NotThereError(InputError):
    """There is no such video or page."""


@dataclass
class Site:
    """Opened stores. Threads share it; it changes nothing."""

    library: Library
    engine: SearchEngine
    uploads: Uploads
    pictures: Pictures
    _results: OrderedDict[Address, Results] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def warm(self) -> None:
        """Load what the first query needs, where that can be: what cannot is told to whoever asks."""
        for name in feature_names(self.library)[:1]:
            results_of(self.library, self.engine, self.uploads, Address(query="a", kind="text", features=name))

    def video(self, store: int, video_id: str) -> VideoKey:
        """A video of an address.

        Raises:
            NotThereError: There is none.
        """
        key = self.library.find(store, video_id)
        if key is None:
            raise NotThereError(f"There is no video {video_id[:200]!r} in this store.")
        return key

    def search_page(self, address: Address, num_characters: int = 0) -> str:
        """The page with the box: an answer, or the whole set.

        Args:
            address: What it shows.
            num_characters: Of the query as it was given.
        """
        results = self._results_of(address.question)
        cards = self._cards(results, address)
        title = address.query.strip()[:60] or ("a picture" if address.image else "all videos")
        return self._render(
            "search.html",
            address,
            title=title,
            results=results,
            listings=list(zip(results.listings, cards, strict=True)),
            facets=facets_of(self.library, address, waits=False),
            is_measured=self.library.is_measured,
            num_pages=max(num_pages(one, address.size) for one in results.listings),
            player=self._player(address, results),
            names=feature_names(self.library),
            picture=bool(address.image) and self.uploads.find(address.image) is not None,
            note=_note(address, num_characters),
            is_text=results.kind is QueryKind.TEXT,
        )

    def facets(self, address: Address) -> str:
        """The part of the page with the filters, all of them."""
        return self._render("facets.html", address, facets=facets_of(self.library, address), is_measured=True)

    def panel(self, address: Address) -> str:
        """The part of the page with the video that is selected."""
        results = self._results_of(address.question)
        player = self._player(address, results)
        if player is None:
            raise NotThereError("No video is selected.")
        return self._render("panel.html", address, player=player)

    def video_page(self, address: Address) -> str:
        """The page of a video."""
        key = self.video(address.store, address.video)
        results = self._results_of(address.question) if address.is_search else None
        names = feature_names(self.library)
        features = address.features if address.features in names else (names[0] if names else "")
        neighbours = neighbours_of(self.library, self.engine, key, features)
        between = score_range([neighbours])
        return self._render(
            "video.html",
            address,
            title=key.video_id[:60],
            player=player_of(self.library, key, None if results is None else results.item(key), address, "/video"),
            names=names,
            features=features,
            captions=captions_with_ranks(self.library, self.engine, key, features),
            neighbours=neighbours,
            cards=[
                card_of(self.library, item, Address(features=address.features), between) for item in neighbours.items
            ],
        )

    def list_page(self, address: Address, names: Sequence[str]) -> str:
        """Videos that were flagged."""
        keys, missing = self.named(names)
        cards = [self._plain_card(key) for key in keys[:MAX_SHOWN]]
        return self._render(
            "list.html",
            address,
            title="flagged videos",
            cards=cards,
            keys=keys,
            missing=missing,
            query=urlencode([("f", name) for name in names]),
        )

    def list_file(self, names: Sequence[str], kind: str) -> str:
        """Videos that were flagged, as a file: `txt` has their ids, `csv` and `json` also where they are."""
        keys, _ = self.named(names)
        if kind == "txt":
            return "".join(f"{key.video_id}\n" for key in keys)
        rows = [
            {
                "store": self.library.shelves[key.store].view.place,
                "split": key.split,
                "row": key.row,
                "video_id": key.video_id,
                "path": self.library.shelves[key.store].record(key)["path"],
            }
            for key in keys
        ]
        if kind == "json":
            return json.dumps(rows, indent=2, ensure_ascii=False) + "\n"
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, ["store", "split", "row", "video_id", "path"])
        writer.writeheader()
        writer.writerows(rows)
        return text.getvalue()

    def named(self, names: Sequence[str]) -> tuple[list[VideoKey], int]:
        """Videos by the names that browsers keep, and how many of these are none."""
        found = []
        for name in names[:MAX_LISTED]:
            store, _, video_id = name.partition(":")
            key = self.library.find(int(store), video_id) if store.isdecimal() and len(store) < 4 else None
            found.append(key)
        keys = [key for key in found if key is not None]
        return list(dict.fromkeys(keys)), len(names) - len(keys)

    def _cards(self, results: Results, address: Address) -> list[list[Card]]:
        between = score_range(results.listings)
        return [[card_of(self.library, item, address, between) for item in one.items] for one in results.listings]

    def _plain_card(self, key: VideoKey) -> Card:
        captions = self.library.shelves[key.store].captions_of(key.video_id, 1)
        return card_of(self.library, Item(key, caption=captions[0][1] if captions else None), Address(), (0.0, 1.0))

    def _player(self, address: Address, results: Results) -> object | None:
        key = self.library.find(address.store, address.video) if address.video else None
        return None if key is None else player_of(self.library, key, results.item(key), address)

    def _results_of(self, question: Address) -> Results:
        with self._lock:
            kept = self._results.get(question)
            if kept is not None:
                self._results.move_to_end(question)
                return kept
        # Outside the lock: a search takes long, and to make one twice harms nothing.
        results = results_of(self.library, self.engine, self.uploads, question)
        if not any(one.problem for one in results.listings):  # a problem may be gone the next time
            with self._lock:
                self._results[question] = results
                if len(self._results) > _KEPT_RESULTS:
                    self._results.popitem(last=False)
        return results

    def _render(self, template: str, address: Address, **values: object) -> str:
        shelves = self.library.shelves
        return TEMPLATES.get_template(template).render(
            address=address,
            stores=[shelf.view.place for shelf in shelves],
            num_videos=sum(layout.num_videos for shelf in shelves for layout in shelf.view.splits.values()),
            picture_url=picture_url,
            sizes=PAGE_SIZES,
            ways_to_show=SHOWN,
            **values,
        )


def _note(address: Address, num_characters: int) -> str:
    """What a page says of its query."""
    if num_characters > MAX_QUERY:
        return f"Only the first {MAX_QUERY:,} of {num_characters:,} characters are searched."
    return "The query is empty: all videos are shown." if address.query and not address.is_search else ""


TEMPLATES = templates_of("pipeline.serving")


def seconds_words(seconds: float | None) -> str:
    """A time in a video; nothing where there is none."""
    return "" if seconds is None else clock(seconds)


def duration_words(seconds: float) -> str:
    """How long something took.

    >>> duration_words(0.0421), duration_words(12.34)
    ('42 ms', '12.3 s')
    """
    return f"{1000 * seconds:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


TEMPLATES.filters["clock"] = seconds_words
TEMPLATES.filters["visible"] = visible
TEMPLATES.filters["duration"] = duration_words


@dataclass
class Current:
    """The site, opened again when the stores have changed: a run may be writing into them."""

    places: tuple[str | PathLike[str], ...]
    options: ServeOptions
    model: ModelSource | None
    listener: Listener
    uploads: Uploads = field(default_factory=Uploads)
    _site: Site | None = None
    _print: list[tuple[object, object]] = field(default_factory=list)
    _checked_at: float = -np.inf
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def site(self) -> Site:
        """The stores as they are, or were some seconds ago.

        Raises:
            StoreError: One cannot be opened, and none was before.
        """
        with self._lock:
            if self._site is not None and time.monotonic() - self._checked_at < self.options.check_seconds:
                return self._site
            # Under the lock, so that of many requests after `check_seconds` one looks.
            views = [open_store(place) for place in self.places]
            print_now = [_fingerprint(view) for view in views]
            if self._site is None or print_now != self._print:
                # Only frames or masks are new: the engine keeps its gigabytes of vectors and its model.
                is_same = self._site is not None and [one[0] for one in print_now] == [one[0] for one in self._print]
                engine = self._site.engine if is_same and self._site is not None else None
                engine = engine or SearchEngine(tuple(views), self.model, Reporter(self.listener))
                library = Library.of(views, self.options.videos)
                self._site, self._print = Site(library, engine, self.uploads, Pictures(library)), print_now
            self._checked_at = time.monotonic()
            return self._site


def _fingerprint(view: StoreView) -> tuple[object, object]:
    """What changes when features are added, and what when frames or masks are."""
    folder = view.store.folder
    features = [(split, name) for split in view.splits for name in view.feature_names(split)]
    parts = [f"commits/{split}/features/{name}/{part}" for split, name in features for part in ("video", "text")]
    stages = [
        f"commits/{split}/{stage}"
        for split in view.splits
        for stage in ("frames", *map(masks_stage, view.mask_names()))
    ]

    def counts(names: list[str]) -> list[int]:
        # Numbers of commit records, which a run adds one by one. Elsewhere each listing is a request over the network.
        return [len(folder.names(name)) for name in names] if folder.is_local else []

    return (view.store.manifest, features, counts(parts)), (view.mask_names(), counts(stages))
