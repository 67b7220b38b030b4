"""Ways to get some frames of a video as RGB arrays, each by its own library, in a process that answers requests.

`python peer_server.py METHOD` reads a JSON object a line: {"path", "frame_index": ascending, "save": a file or null},
and answers with {"wall_seconds", "cpu_seconds"} or {"error"}. The first line that it writes says whether it can work.
It needs nothing of fda, so that it runs in the peers' environment. All methods decode and convert by one thread.
"""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Frames = list[NDArray[np.uint8]]
Method = Callable[[str, Sequence[int]], Frames]


def _opencv(path: str) -> tuple[Any, Any]:
    cv2: Any = importlib.import_module("cv2")
    cv2.setNumThreads(1)
    return cv2, cv2.VideoCapture(path, cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])


def opencv_sequential(path: str, frame_index: Sequence[int]) -> Frames:
    """Grab every frame up to the last that is wanted; retrieve and convert these alone."""
    cv2, capture = _opencv(path)
    wanted, frames = set(frame_index), []
    for number in range(frame_index[-1] + 1):
        if not capture.grab():
            break
        if number in wanted:
            frames.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return frames


def opencv_read_all(path: str, frame_index: Sequence[int]) -> Frames:
    """Read and convert every frame of the file; keep those that are wanted."""
    cv2, capture = _opencv(path)
    wanted, frames, number = set(frame_index), [], 0
    while True:
        found, pixels = capture.read()
        if not found:
            break
        rgb = cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB)
        if number in wanted:
            frames.append(rgb)
        number += 1
    capture.release()
    return frames


def opencv_seek(path: str, frame_index: Sequence[int]) -> Frames:
    """Set the position for every frame."""
    cv2, capture = _opencv(path)
    frames = []
    for number in frame_index:
        capture.set(cv2.CAP_PROP_POS_FRAMES, number)
        found, pixels = capture.read()
        if found:
            frames.append(cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
    capture.release()
    return frames


def _pyav() -> tuple[Any, Callable[[Any], NDArray[np.uint8]]]:
    av: Any = importlib.import_module("av")
    reformatter = importlib.import_module("av.video.reformatter").VideoReformatter()

    def rgb(frame: Any) -> NDArray[np.uint8]:
        return np.asarray(reformatter.reformat(frame, format="rgb24", interpolation="BICUBIC", threads=1).to_ndarray())

    return av, rgb


def pyav_sequential(path: str, frame_index: Sequence[int]) -> Frames:
    """Decode up to the last frame that is wanted; convert these alone."""
    av, rgb = _pyav()
    wanted, frames = set(frame_index), []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                frames.append(rgb(frame))
            if number == frame_index[-1]:
                break
    return frames


def pyav_seek(path: str, frame_index: Sequence[int]) -> Frames:
    """Read the times of all packets; for every frame seek to the keyframe before it, and decode up to it."""
    av, rgb = _pyav()
    frames = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        stream.thread_type, stream.codec_context.thread_count = "NONE", 1
        pts = sorted(packet.pts for packet in container.demux(stream) if packet.pts is not None)
        for number in frame_index:
            container.seek(pts[number], stream=stream)
            for frame in container.decode(stream):
                if frame.pts is not None and frame.pts >= pts[number]:
                    frames.append(rgb(frame))
                    break
    return frames


def decord(path: str, frame_index: Sequence[int]) -> Frames:
    """`VideoReader.get_batch`, as its README has it."""
    library: Any = importlib.import_module("decord")
    return list(library.VideoReader(path, ctx=library.cpu(0), num_threads=1).get_batch(list(frame_index)).asnumpy())


def torchcodec(path: str, frame_index: Sequence[int]) -> Frames:
    """`VideoDecoder.get_frames_at`, with its exact index."""
    decoders: Any = importlib.import_module("torchcodec.decoders")
    importlib.import_module("torch").set_num_threads(1)
    decoder = decoders.VideoDecoder(path, seek_mode="exact", num_ffmpeg_threads=1, dimension_order="NHWC")
    return list(decoder.get_frames_at(indices=list(frame_index)).data.numpy())


def ffmpeg_select(path: str, frame_index: Sequence[int]) -> Frames:
    """One process of the command line; raw RGB comes through a pipe."""
    program, height, width = _ffmpeg_program(), *_shape(path)
    picks = "+".join(f"eq(n\\,{number})" for number in frame_index)
    command = [program, "-v", "error", "-threads", "1", "-filter_threads", "1", "-i", path]
    command += ["-an", "-vf", f"select='{picks}'", "-fps_mode", "passthrough", "-frames:v", str(len(frame_index))]
    command += ["-pix_fmt", "rgb24", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
    return list(np.frombuffer(raw, np.uint8).reshape(-1, height, width, 3))


def _ffmpeg_program() -> str:
    """The one on the path, or the one that the package imageio-ffmpeg brings."""
    shutil = importlib.import_module("shutil")
    return str(shutil.which("ffmpeg") or importlib.import_module("imageio_ffmpeg").get_ffmpeg_exe())


def _shape(path: str) -> tuple[int, int]:
    with importlib.import_module("av").open(path) as container:
        context = container.streams.video[0].codec_context
        return context.height, context.width


def fda(path: str, frame_index: Sequence[int]) -> Frames:
    """fda's own choice of frames (which the others were asked for) at their own size."""
    return list(importlib.import_module("tests.benchmarks.native").decode_native(path, len(frame_index)))


def libav_calls(path: str, frame_index: Sequence[int]) -> Frames:
    """The calls of libav that fda makes for these frames, and nothing else."""
    return list(importlib.import_module("tests.benchmarks.native").decode_barely(path, len(frame_index)))


METHODS: dict[str, tuple[Method, tuple[str, ...]]] = {
    "OpenCV, sequential": (opencv_sequential, ("cv2",)),
    "OpenCV, read every frame": (opencv_read_all, ("cv2",)),
    "OpenCV, seek per frame": (opencv_seek, ("cv2",)),
    "PyAV, sequential": (pyav_sequential, ("av", "av.video.reformatter")),
    "PyAV, seek per frame": (pyav_seek, ("av", "av.video.reformatter")),
    "decord": (decord, ("decord",)),
    "torchcodec, exact": (torchcodec, ("torchcodec", "torchcodec.decoders", "torch")),
    "ffmpeg CLI, select": (ffmpeg_select, ("av",)),
    "libav's calls alone": (libav_calls, ("tests.benchmarks.native",)),
    "fda": (fda, ("tests.benchmarks.native",)),
}
"""Name -> what does it, and the modules that it needs."""


def version(modules: Sequence[str]) -> str:
    """Import what a method needs, and say its version."""
    for name in modules:
        importlib.import_module(name)
    top = importlib.import_module(modules[0])
    return str(getattr(top, "__version__", ""))


def _cpu_seconds() -> float:
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def _answer(method: Method, request: dict[str, Any]) -> dict[str, Any]:
    try:
        wall, cpu = time.perf_counter(), _cpu_seconds()
        frames = method(request["path"], request["frame_index"])
        answer = {"wall_seconds": time.perf_counter() - wall, "cpu_seconds": _cpu_seconds() - cpu}
        if request["save"]:
            np.save(request["save"], np.stack(frames) if frames else np.zeros((0, 1, 1, 3), np.uint8))
    except Exception as error:  # whatever the library throws is what is reported of it
        return {"error": _one_line(error)}
    return answer


def _one_line(error: Exception) -> str:
    lines = str(error).split("\n")
    return f"{type(error).__name__}: {lines[0][:160]}"


def serve(name: str) -> None:
    """Answer requests on standard input until it ends."""
    out = sys.stdout
    sys.stdout = sys.stderr  # what libraries print must not mix with the answers
    method, modules = METHODS[name]
    try:
        ready = {"ready": True, "version": version(modules)}
        if name.startswith("ffmpeg"):
            ready["version"] = _ffmpeg_program()
    except Exception as error:  # a library that does not load is reported as not available
        ready = {"ready": False, "error": _one_line(error)}
    print(json.dumps(ready), file=out, flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(method, json.loads(line))), file=out, flush=True)


if __name__ == "__main__":
    serve(sys.argv[1])
