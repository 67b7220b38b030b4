"""A small store of videos that browsers play, or not, and its pages as a browser reads them."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from html.parser import HTMLParser
from pathlib import Path

import av
import numpy as np
from av.audio.stream import AudioStream
from av.video.stream import VideoStream
from numpy.typing import NDArray

import fda
from pipeline.run.limits import Limit
from tests.clips_on_disk import moving_frames, record, write_manifest
from tests.encoders_tiny import write_config
from tests.forked import forked_fda
from tests.videos import Encoding, write_video

RATE = Fraction(30)
NUM_NUMBERED = 90
NUM_BITS = 8
HOSTILE_ID = "<img src=x onerror=alert(1)> & 'two'"
HOSTILE_CAPTIONS = (
    '<script>document.title="owned"</script><img src=x onerror=alert(1)>',
    "\u202eيركض كلب \u05d0\u05d1\u05d2 {{ 7*7 }} \U0001f436\U0001f3fd",
    "long " * 1000,
    "javascript:alert(1) \x1b[31m ${1+1} </title></textarea>",
)
NO_B = {"preset": "ultrafast", "threads": "1"}
WITH_B = {"preset": "veryfast", "bf": "2", "threads": "1", "g": "30", "x264-params": "b-adapt=0"}


def numbered_frames(num_frames: int = NUM_NUMBERED) -> NDArray[np.uint8]:
    """Frame i has i in stripes, one a bit, which survive every codec: shape (num_frames, 48, 64, 3)."""
    bits = np.arange(num_frames)[:, None] >> np.arange(NUM_BITS) & 1
    levels = np.where(bits, 224, 32).astype(np.uint8).repeat(64 // NUM_BITS, axis=1)
    return np.broadcast_to(levels[:, None, :, None], (num_frames, 48, 64, 3)).copy()


def number_in(picture: NDArray[np.uint8]) -> int:
    """The number of a frame, from its picture: shape (height, width, ...)."""
    columns = picture.reshape(*picture.shape[:2], -1).mean(axis=(0, 2))
    levels = columns.reshape(NUM_BITS, -1).mean(axis=1)
    return int((levels > 128) @ (1 << np.arange(NUM_BITS)))


def write_videos(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    numbered = numbered_frames()
    write_video(folder / "walk.mp4", numbered, Encoding(rate=RATE, options=WITH_B))
    write_video(folder / "old.avi", numbered, Encoding(rate=RATE, options=WITH_B))
    write_video(folder / "mpeg.avi", numbered[:30], Encoding(codec="mpeg4", rate=RATE))
    write_video(
        folder / "web.webm", numbered[:12], Encoding(codec="libvpx", rate=RATE, options={"deadline": "realtime"})
    )
    for number in range(4):
        encoding = Encoding(options=NO_B)
        write_video(folder / f"square_{number}.mp4", moving_frames(number, num_frames=12), encoding)
    (folder / "text.mp4").write_text("this is no video")


def write_with_sound(path: Path, codec: str, sound: str, num_frames: int) -> None:
    """Each frame with 1152 samples of silence, four fifths of its time."""
    with av.open(str(path), "w") as container:
        options = {**NO_B, "x264-params": "keyint=15:scenecut=0"} if codec == "libx264" else {}
        picture = container.add_stream(codec, rate=RATE, options=options)
        audio = container.add_stream(sound, rate=44100, layout="stereo")
        assert isinstance(picture, VideoStream)
        assert isinstance(audio, AudioStream)
        picture.width, picture.height, picture.pix_fmt = 64, 48, "yuv420p"
        resampler = av.AudioResampler(format=audio.format, rate=44100)
        for index, level in enumerate(numbered_frames(num_frames)):
            frame = av.VideoFrame.from_ndarray(level, format="rgb24")
            frame.pts, frame.time_base = index, 1 / RATE
            container.mux(picture.encode(frame))
            samples = av.AudioFrame.from_ndarray(np.zeros((2, 1152), np.float32), format="fltp", layout="stereo")
            samples.sample_rate, samples.pts, samples.time_base = 44100, 1152 * index, Fraction(1, 44100)
            for resampled in resampler.resample(samples):
                container.mux(audio.encode(resampled))
        container.mux(picture.encode(None))
        container.mux(audio.encode(None))


def write_data(folder: Path) -> Path:
    """The videos, and a manifest with windows, categories, hostile texts, a missing video and one that is none.

    `old` begins after the second key frame of its file.
    """
    write_videos(folder / "videos")
    records = [
        {**record("walk", "videos/walk.mp4", captions=["a grey that grows", "it gets light"]), "category": "grey"},
        {**record("old", "videos/old.avi", captions=["an old grey"]), "category": "grey", "start_seconds": 1.2},
        {**record("part", "videos/walk.mp4"), "start_seconds": 1.0, "end_seconds": 2.0},
        {**record("mpeg", "videos/mpeg.avi"), "start_seconds": 0.2, "end_seconds": 0.8},
        record("web", "videos/web.webm"),
        record(HOSTILE_ID, "videos/square_0.mp4", captions=HOSTILE_CAPTIONS),
        {**record("square_1", "videos/square_1.mp4", captions=[]), "category": "square"},
        record("gone", "videos/gone.mp4"),
        record("text", "videos/text.mp4"),
        {**record("square_2", "videos/square_2.mp4", "train"), "category": "square"},
        record("square_3", "videos/square_3.mp4", "train"),
    ]
    return write_manifest(folder, records)


@dataclass(frozen=True)
class ServedStore:
    """A store with features of a tiny model (`mine`) and imported ones without frames (`other`), and its videos."""

    place: Path
    videos: Path


def make_served_store(folder: Path) -> ServedStore:
    manifest = write_data(folder)
    options = fda.PreprocessOptions(
        train_frames=3, eval_frames=6, image_size=32, shard_size=4, masks=fda.MaskOptions(kernel_size=3, min_area=8)
    )
    run = fda.RunOptions(workers=0)
    decoding = fda.DecodingOptions(max_missing=Limit.of("100%"))
    fda.preprocess(manifest, folder / "store", options, decoding=decoding, run=run)
    source = fda.ModelSource(model=write_config(folder), pretrained="none")
    fda.encode(folder / "store", fda.EncodeOptions(features="mine", precision="fp32"), source)
    rng, view = np.random.default_rng(0), fda.open_store(folder / "store")
    videos = [video_id for video_id in view.videos()["video_id"].to_pylist() if video_id not in ("gone", "text")]
    captions = view.captions()["caption_id"].to_pylist()
    video, text = (fda.Embeddings(rng.standard_normal((len(ids), 8)), ids=ids) for ids in (videos, captions))
    fda.import_features(folder / "store", fda.ImportOptions("other", text=text, video=video))
    return ServedStore(folder / "store", folder / "videos")


@contextmanager
def server_of(place: Path, folder: Path) -> Iterator[str]:
    """The address of `fda serve` in a process of its own, which Ctrl-C ends; what it writes goes into a folder."""
    process = forked_fda(folder, "serve", place, "--port", "0", "--cache", folder / "cache")
    said = folder / "fda.0.err"
    while not (found := re.findall(r"(http://127\.0\.0\.1:\d+)/ ", said.read_text())):
        assert process.poll() is None, said.read_text()
        time.sleep(0.01)
    try:
        yield found[0]
    finally:
        process.send_signal(signal.SIGINT)
        lines = process.communicate(timeout=60)[1].splitlines()[1:]
    assert process.returncode == 0
    assert re.fullmatch(r"fda serve has ended: [\d,]+ requests? answered, nothing was changed", lines[-1]), lines
    assert all(line.startswith("weights: ") for line in lines[:-1]), lines


@dataclass
class Page(HTMLParser):
    """The elements of a page."""

    html: str
    elements: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        """What is read, with single spaces."""
        return " ".join(" ".join(self.texts).split())

    def of(self, tag: str, name: str = "") -> list[dict[str, str]]:
        """Attributes of the elements of a tag, and of a class."""
        return [its for one, its in self.elements if one == tag and (not name or name in its.get("class", "").split())]

    @property
    def cards(self) -> list[str]:
        """Ids of the videos that are listed."""
        return [its["data-name"].partition(":")[2] for its in self.of("li", "card")]
