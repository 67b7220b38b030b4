"""`fda ...` in this process, with all that costs time taken from a cache: clips are decoded once, a model loaded once.

What is written, and when, is the work of the commands themselves.
"""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import traceback
import warnings
from collections.abc import Callable, Collection, Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import cv2
import pyarrow as pa
import torch

import pipeline.features.run
import pipeline.frames.run
from cli.main import fda
from encoders.options import ModelSource
from encoders.weights.loading import LoadedModel, load_model
from pipeline.features.model import ReadyModel
from pipeline.isolation.decoder import Answer, DecodeRequest
from pipeline.video.clips import DecodedClip, VideoError
from pipeline.video.decoding import decode_clip
from tests.faults.operations import Policy, operations

Decode = Callable[..., DecodedClip | VideoError]


class OwnDecoder:
    """A decoder in this process."""

    def __init__(self, decode: Decode) -> None:
        self._decode = decode
        self.asked: list[Path] = []

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
        """Answer each request, in order."""
        for position, request in enumerate(requests):
            self.asked.append(request.path)
            yield Answer(position, _copied(self._decode(request.path, request.options, request.window)))

    def close(self) -> None:
        """There is nothing to end."""

    def end_used_by(self, threads: Collection[int]) -> None:
        """There is nothing to end."""


@functools.cache
def decode_cached(*arguments: Any) -> DecodedClip | VideoError:
    try:
        return decode_clip(*arguments)
    except VideoError as error:
        return error


def _copied(clip: DecodedClip | VideoError) -> DecodedClip | VideoError:
    """The run may do with its clip what it likes."""
    if isinstance(clip, VideoError):
        return clip
    return replace(clip, sample=replace(clip.sample, frames=clip.sample.frames.copy()))


@functools.cache
def _loaded(config: str, seed: int) -> LoadedModel:
    return load_model(config, "none", None, seed=seed)


def _ready(source: ModelSource) -> ReadyModel:
    return ReadyModel(_loaded(source.model, 0), source, torch.device("cpu"))


def warm_up() -> None:
    """One thread each: this process is forked again and again."""
    cv2.setNumThreads(1)
    pa.set_cpu_count(1)
    pa.set_io_thread_count(1)
    torch.set_num_threads(1)


def run_fda(arguments: Sequence[str], decode: Decode = decode_cached) -> list[str]:
    """Run a command; its errors are raised.

    Args:
        arguments: The arguments after `fda`.
        decode: In place of `decode_clip`.

    Returns:
        The file names of the videos that it decoded.
    """
    decoder = OwnDecoder(decode)
    with (
        mock.patch.object(pipeline.frames.run, "IsolatedDecoder", return_value=decoder),
        mock.patch.object(pipeline.features.run, "load_ready", lambda source, device, report: _ready(source)),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        code = fda.main(list(arguments), prog_name="fda", standalone_mode=False)
    assert not code, f"fda {' '.join(arguments)} ended with code {code}"
    return [path.name for path in decoder.asked]


def run_under(policy: Policy, place: Path, arguments: Sequence[str], decode: Decode = decode_cached) -> list[str]:
    """`run_fda`, every change of the store handed to a policy."""
    with operations(place, policy):
        return run_fda(arguments, decode)


def in_a_fork(work: Callable[[], object]) -> int:
    """Do something in a copy of this process, and return how that ended: 0, 1 for an error, or minus a signal.

    The error is printed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads that wait for work: none is needed in the copy
        child = os.fork()
    if child == 0:
        code = 1
        try:
            work()
            code = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
