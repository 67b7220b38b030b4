"""Opening a local file as a video and as nothing else. Every failure becomes a `VideoError`."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar, cast

import av
import av.error
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard, Stream
from av.video.stream import VideoStream

from pipeline.run.running_time import RunningTime
from pipeline.video.clips import VideoError
from pipeline.video.options import DecodeOptions
from pipeline.video.reading.display import SQUARE, Crop, Display
from pipeline.video.reading.headers import crop_of_matroska, crop_of_track, is_still_picture
from pipeline.video.reading.streams import StreamChoice, choose_stream, has_no_decoder, moving_streams
from pipeline.video.reading.truncation import FileExtent, file_extent
from store.schema import VideoStatus

_AnyStream = TypeVar("_AnyStream", bound=Stream)

_DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,asf,flv,kux,live_flv,mpeg,mpegts,mpegvideo,ogg,rm,mxf,nut,dv,gxf,swf,"
    "amv,nsv,nuv,wtv,vob,ivf,av1,obu,h261,h263,h264,hevc,vvc,evc,m4v,mjpeg,cavsvideo,avs2,avs3,dirac,dnxhd,"
    "vc1,vc1test,gif,apng,yuv4mpegpipe,bink,smk,roq,film_cpk,flic,4xm,ea,mm,mv,idcin,ipmovie,wc3movie,ty,pva,lmlm4,"
    # Sound: so that the error of an audio file is that it has no video stream.
    "wav,w64,aiff,au,caf,mp3,aac,ac3,eac3,flac,amr,ape,tta,wv,dts,truehd,mpc,mpc8,voc"
)
"""Demuxers that read one file and follow no reference out of it. Videos come from anybody.

Left out on purpose: playlists and descriptions that open other files or URLs (concat, hls, dash, sdp, image2, vobsub,
...), devices, and demuxers that turn any bytes into video (tty, rawvideo).
"""
_OPTIONS = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
_SILENT_DECODERS = frozenset({"mjpeg"})
"""They show what they have of a damaged picture, and older pictures behind it, without a flag; ffmpeg's
`err_detect=explode` makes them refuse it. H.264 and others flag it, and would refuse also what does no harm."""
_JPEG = b"\xff\xd8\xff"
"""The first bytes of a JPEG picture, and of a file of nothing but such pictures."""


@dataclass(slots=True)
class Deadline:
    """After so many seconds, work on a video stops.

    A call of ffmpeg that takes longer than `LONGEST_STEP_SECONDS` counts as no more, as if this process had been
    stopped meanwhile. Whoever has started it counts right, and kills it.
    """

    limit_seconds: float
    _running: RunningTime = field(default_factory=RunningTime)

    def restart(self) -> None:
        """Begin again: what comes now has all of its time."""
        self._running.restart()

    def check(self) -> None:
        """Raise `VideoError` (`TIMEOUT`) if it has passed. To be called often: at each packet."""
        if self._running.seconds() > self.limit_seconds:
            raise VideoError(VideoStatus.TIMEOUT, f"not decoded within {self.limit_seconds:g} s")


def check_file(path: Path) -> os.stat_result:
    """Refuse a path that is not a readable regular file with content. Pipes and devices are never opened.

    Returns:
        The facts of the file.

    Raises:
        VideoError: `MISSING` if no file can be read there, with what is there instead. A file without read permission
            or with a disk error counts as missing, because the remedy lies outside the file. `EMPTY` for 0 bytes.
    """
    try:
        facts = path.stat()
        # Before opening: to open a named pipe without a writer would wait for ever.
        if not stat.S_ISREG(facts.st_mode):
            raise VideoError(VideoStatus.MISSING, f"the path is {_kind(facts.st_mode)}, not a file")
        if facts.st_size == 0:
            raise VideoError(VideoStatus.EMPTY, "the file has 0 bytes")
        path.open("rb").close()  # permission is asked for here: ffmpeg's error would count as a damaged file
        return facts
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise VideoError(VideoStatus.MISSING, _os_reason(error)) from error


def _os_reason(error: OSError | ValueError) -> str:
    if isinstance(error, OSError) and error.errno in (errno.ENOENT, errno.ENOTDIR):
        return "there is no such file"
    words = error.strerror if isinstance(error, OSError) else str(error)
    return f"the file cannot be read: {words}"


def _kind(mode: int) -> str:
    kinds = {
        stat.S_IFDIR: "a folder",
        stat.S_IFIFO: "a named pipe",
        stat.S_IFSOCK: "a socket",
        stat.S_IFCHR: "a device",
        stat.S_IFBLK: "a device",
    }
    return kinds.get(stat.S_IFMT(mode), "something else")


def extent_of(path: Path) -> FileExtent:
    """`file_extent`, a disk error becoming a `VideoError`.

    Raises:
        VideoError: `MISSING`, the file cannot be read.
    """
    with _os_errors():
        return file_extent(path)


@contextmanager
def _os_errors() -> Iterator[None]:
    """Turn errors of reading a file into a `VideoError` (`MISSING`): it was there when it was checked."""
    try:
        yield
    except OSError as error:
        raise VideoError(VideoStatus.MISSING, _os_reason(error)) from error


def refuse_missing_index(path: Path, extent: FileExtent) -> None:
    """Refuse an mp4 without its index: its frames cannot be found.

    Raises:
        VideoError: `NO_VIDEO_STREAM` for a still picture in the same container (HEIC, AVIF), which has none;
            `TRUNCATED` for all others.
    """
    if not extent.index_missing:
        return
    with _os_errors():
        is_still = is_still_picture(path)
    if is_still:
        raise VideoError(VideoStatus.NO_VIDEO_STREAM, "the file is a still picture (HEIC, AVIF or the like)")
    raise VideoError(VideoStatus.TRUNCATED, "the index (moov) is missing, the file was probably cut off")


@contextmanager
def ffmpeg_errors() -> Iterator[None]:
    """Turn errors of PyAV into a `VideoError` with ffmpeg's reason."""
    try:
        yield
    except av.error.FFmpegError as error:
        raise video_error_of(error) from error


def video_error_of(error: av.error.FFmpegError) -> VideoError:
    """An error of PyAV as a `VideoError`."""
    return VideoError(_status_of(error), f"ffmpeg: {error.strerror or type(error).__name__}")


def _status_of(error: av.error.FFmpegError) -> VideoStatus:
    if isinstance(error, av.error.FileNotFoundError):  # removed since it was checked
        return VideoStatus.MISSING
    refusals = (
        av.error.LookupError,
        av.error.PatchWelcomeError,
        av.error.NotImplementedError,
        av.error.MemoryError,
        av.error.ExperimentalError,
    )
    return VideoStatus.UNSUPPORTED if isinstance(error, refusals) else VideoStatus.CORRUPT


@dataclass(frozen=True, slots=True)
class OpenVideo:
    """An open file and its video stream."""

    path: Path
    container: InputContainer
    stream: VideoStream
    choice: StreamChoice
    """Which stream it is, for the next time that the file is opened."""

    def display(self) -> Display:
        """How its pictures are shown. A pixel is square if the file does not say, or not a positive ratio.

        Raises:
            VideoError: `MISSING`, the file cannot be read.
        """
        aspect = self.stream.sample_aspect_ratio
        return Display(aspect if aspect is not None and aspect > 0 else SQUARE, self._crop())

    def _crop(self) -> Crop | None:
        name = self.container.format.name
        with _os_errors():
            if "mp4" in name:
                return crop_of_track(self.path, self.stream.id)
            if "matroska" in name:
                return crop_of_matroska(self.path, list(self.container.streams.video).index(self.stream))
        return None

    def packets(self, deadline: Deadline) -> Generator[Packet[VideoStream], None, None]:
        """The packets of the stream that are not empty, in the order of the file.

        Raises:
            VideoError: `TIMEOUT`.
            av.error.FFmpegError: The file cannot be read to its end.
        """
        return _packets(self.container, (self.stream,), deadline)


def _packets(
    container: InputContainer, streams: tuple[VideoStream, ...], deadline: Deadline
) -> Generator[Packet[VideoStream], None, None]:
    for other in container.streams:
        if other not in streams:
            other.discard = Discard.all  # sound is not even read
    for packet in demux(container, streams, deadline):
        if _is_flush(packet):
            break
        if packet.size:
            yield packet


def demux(container: InputContainer, streams: Sequence[_AnyStream], deadline: Deadline) -> Iterator[Packet[_AnyStream]]:
    """The packets of some streams, in the order of the file, PyAV's marks for the end among them.

    Raises:
        VideoError: `TIMEOUT`.
        av.error.FFmpegError: The file cannot be read to its end.
    """
    while True:
        try:
            for packet in cast("Iterator[Packet[_AnyStream]]", container.demux(streams)):
                deadline.check()
                yield packet
        except av.error.BlockingIOError:  # to be asked again, says ffmpeg, where an MPEG-TS is zeros up to its end
            deadline.check()
        else:
            return


def _is_flush(packet: Packet[VideoStream]) -> bool:
    """Whether a packet is PyAV's mark for the end of the stream, and not an AVI's empty packet for a dropped frame.

    Reading must stop at the mark: if streams appeared while reading, PyAV 18.1 raises IndexError after it.
    """
    return packet.size == 0 and packet.pts is None and packet.dts is None and packet.pos is None


@contextmanager
def open_video(
    path: Path, deadline: Deadline, options: DecodeOptions, choice: StreamChoice | None = None
) -> Iterator[OpenVideo]:
    """Open a local file and its video stream, with one decoder thread.

    ffmpeg gets the name after `file:`, so that names like `-x.mp4` or `concat:a|b` are only names. Packets of other
    streams are not read. Pictures of more than `options.max_pixels` are refused before memory is allocated for them.

    Args:
        path: The file.
        deadline: For opening and reading.
        options: The limits.
        choice: The stream that was chosen before. If it is None and there are several, all are read to choose one.

    Raises:
        VideoError: `CORRUPT` if it is not a video of an accepted format, `NO_VIDEO_STREAM`, `UNSUPPORTED` if no decoder
            is available, or `TIMEOUT`. Errors of ffmpeg inside the block become a `VideoError` as well.
    """
    if choice is None:
        with _open_container(path, deadline, options) as container:
            streams = _moving_streams(container)
            # The usual file: opened once, since no packets were read to choose a stream.
            if len(streams) == 1:
                choice = StreamChoice(streams[0].index)
                yield OpenVideo(path, container, _prepared(streams[0], options), choice)
                return
            choice = choose_stream(streams, _readable(_packets(container, streams, deadline), options.max_packets))
    with _open_container(path, deadline, options) as container:
        # Opened again after a choice, which has read the packets.
        stream = container.streams[choice.index]
        assert isinstance(stream, VideoStream)
        yield OpenVideo(path, container, _prepared(stream, options), choice)


def _readable(packets: Iterable[Packet[VideoStream]], most: int) -> Iterator[Packet[VideoStream]]:
    """The first packets of a file, up to where it cannot be read: the scan that follows says why."""
    try:
        yield from islice(packets, most)
    except (av.error.InvalidDataError, av.error.OSError):
        return


@contextmanager
def _open_container(path: Path, deadline: Deadline, options: DecodeOptions) -> Iterator[InputContainer]:
    deadline.check()
    with ffmpeg_errors():
        try:
            container = _opened(path, options)
        except av.error.ArgumentError as error:  # the demuxer is not in the whitelist
            reason = f"the file is not a video in a format that is accepted (ffmpeg: {error.strerror})"
            raise VideoError(VideoStatus.CORRUPT, reason) from error
        except av.error.MemoryError as error:  # demuxers raise it also if no more streams may be added
            reason = f"the file has more than {options.max_streams} streams, or asks for more memory than there is"
            raise VideoError(VideoStatus.UNSUPPORTED, reason) from error
        with container:
            if len(container.streams) > options.max_streams:
                reason = f"the file has more than {options.max_streams} streams, which is the limit"
                raise VideoError(VideoStatus.UNSUPPORTED, reason)
            yield container


def _opened(path: Path, options: DecodeOptions) -> InputContainer:
    with _os_errors(), path.open("rb") as file:
        is_jpeg = file.read(len(_JPEG)) == _JPEG
    return av.open(
        "file:" + os.fspath(path),
        mode="r",
        # Left to itself, ffmpeg takes raw Motion JPEG for a still if the second picture lies beyond what it probes.
        format="mjpeg" if is_jpeg else None,
        # One more than the limit, so that a file above it is seen to be.
        options={**_OPTIONS, "max_streams": str(options.max_streams + 1)},
        metadata_errors="replace",  # titles and the like may be in any encoding, and are not used
    )


def _moving_streams(container: InputContainer) -> tuple[VideoStream, ...]:
    streams = moving_streams(container.streams.video)
    if not streams:
        cover = "only a cover picture" if container.streams.video else "no video stream"
        raise VideoError(VideoStatus.NO_VIDEO_STREAM, f"the file has {cover} ({container.format.name})")
    return streams


def _prepared(stream: VideoStream, options: DecodeOptions) -> VideoStream:
    if has_no_decoder(stream):
        raise VideoError(VideoStatus.UNSUPPORTED, "nothing here decodes the video stream")
    context = stream.codec_context
    check_pixels(context.height, context.width, options)
    # One thread: videos are decoded side by side, one a process, and frame threads lose 1.5x to 2x against that.
    context.thread_count = 1
    context.thread_type = av.codec.context.ThreadType.NONE
    # The decoder checks the size as well: pictures inside a stream may be larger than its header says.
    context.options = {"max_pixels": str(options.max_pixels)}
    if context.name in _SILENT_DECODERS:
        context.options |= {"err_detect": "explode"}
    return stream


def check_pixels(height: int, width: int, options: DecodeOptions) -> None:
    """Refuse pictures that are too large, by their size as stored.

    Raises:
        VideoError: `UNSUPPORTED`.
    """
    if height * width > options.max_pixels:
        reason = f"the picture is {width}x{height}, it may have {options.max_pixels} pixels"
        raise VideoError(VideoStatus.UNSUPPORTED, reason)
