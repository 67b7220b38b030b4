"""A process that may open only a few more files starts a decoder or says why it cannot, and keeps none of them open."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import psutil

from pipeline.isolation.decoder import DecodeRequest, IsolatedDecoder
from pipeline.isolation.process import DecoderStartError
from pipeline.video.clips import DecodedClip
from pipeline.video.options import DecodeOptions
from tests.decoders import misbehave_in_turn

NUM_ENOUGH = 12


@contextmanager
def only(num_free: int) -> Iterator[None]:
    """Let this process open so many files, and no more."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (psutil.Process().num_fds() + NUM_ENOUGH + 64, before[1]))
    taken: list[int] = []
    try:
        with suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        for number in taken[:num_free]:
            os.close(number)
        del taken[:num_free]
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for number in taken:
            os.close(number)


def outcome(decoder: IsolatedDecoder) -> str:
    """`a clip`, or why there is none."""
    try:
        (answer,) = decoder.decode([DecodeRequest(Path("clip_5.mp4"), DecodeOptions(3, 32))])
    except DecoderStartError as error:
        return str(error)
    return "a clip" if isinstance(answer.outcome, DecodedClip) else str(answer.outcome)


def test_each_number_of_free_files_is_enough_or_told_of() -> None:
    found = ""
    for num_free in range(NUM_ENOUGH):
        decoder, before = IsolatedDecoder(function=misbehave_in_turn), psutil.Process().num_fds()
        with only(num_free), closing(decoder):
            found = outcome(decoder)
        assert psutil.Process().num_fds() <= before  # servers of other tests may close theirs
        if found == "a clip":
            assert num_free > 0
            return
        assert "cannot be started: Too many open files. Use fewer --workers" in found
    raise AssertionError(found)
