"""Damaging files in the ways that files come damaged, or are made to do harm; the same at every run."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import numpy as np

from pipeline.video.clips import DecodedClip
from pipeline.video.options import DecodeOptions

HEADER_BYTES = 2048
"""Where the structure of most files is. In an mp4 with its index last, it is in as many bytes at the end."""

Mutation = Callable[[Random, bytearray], bytearray]


def _spot(chance: Random, content: bytearray) -> tuple[int, int]:
    """Half-open bounds of a block of up to an eighth of the file."""
    start = chance.randrange(len(content))
    return start, min(len(content), start + chance.randint(1, max(1, len(content) // 8)))


def _header_place(chance: Random, content: bytearray) -> int:
    offset = chance.randrange(min(HEADER_BYTES, len(content)))
    return offset if chance.random() < 0.5 else len(content) - 1 - offset


def truncated(chance: Random, content: bytearray) -> bytearray:
    """Cut off anywhere."""
    return content[: chance.randint(1, len(content))]


def header_bits_flipped(chance: Random, content: bytearray) -> bytearray:
    """A few bits near the start or the end."""
    for _ in range(chance.choice([1, 2, 8])):
        content[_header_place(chance, content)] ^= 1 << chance.randrange(8)
    return content


def header_bytes_changed(chance: Random, content: bytearray) -> bytearray:
    """A few bytes near the start or the end, to anything."""
    for _ in range(chance.choice([1, 2, 8])):
        content[_header_place(chance, content)] = chance.randrange(256)
    return content


def data_bits_flipped(chance: Random, content: bytearray) -> bytearray:
    """Bits anywhere, up to one in a hundred bytes."""
    for _ in range(chance.choice([1, 10, 1 + len(content) // 100])):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
    return content


def block_zeroed(chance: Random, content: bytearray) -> bytearray:
    """A block of zeros, as a hole in a download leaves it."""
    start, stop = _spot(chance, content)
    content[start:stop] = bytes(stop - start)
    return content


def tail_appended(chance: Random, content: bytearray) -> bytearray:
    """Random bytes behind what is there, or behind a part of it."""
    kept = content if chance.random() < 0.5 else truncated(chance, content)
    return kept + chance.randbytes(chance.randint(1, 4096))


def chunks_swapped(chance: Random, content: bytearray) -> bytearray:
    """Two blocks change places."""
    first, second = sorted([_spot(chance, content), _spot(chance, content)])
    if first[1] > second[0]:
        first = (first[0], second[0])
    return (
        content[: first[0]]
        + content[slice(*second)]
        + content[first[1] : second[0]]
        + content[slice(*first)]
        + content[second[1] :]
    )


def chunk_repeated_or_lost(chance: Random, content: bytearray) -> bytearray:
    """A block comes again many times, or not at all."""
    start, stop = _spot(chance, content)
    return content[:start] + content[start:stop] * chance.choice([0, 2, 20]) + content[stop:]


def lengths_blown_up(chance: Random, content: bytearray) -> bytearray:
    """Four bytes of the header that may be a length or a number become large, or 0."""
    for _ in range(chance.choice([1, 1, 4])):
        place = _header_place(chance, content)
        value = chance.choice([0, 0x7FFFFFFF, 0xFFFFFFFF, 0x00FFFFFF, 0x10000, 1 << chance.randrange(32)])
        content[place : place + 4] = value.to_bytes(4, chance.choice(["big", "little"]))[: len(content) - place]
    return content


def _inside(chance: Random, content: bytearray, least: int = 0) -> tuple[int, int]:
    """Half-open bounds of at least a sector of a disk, up to half the file; `least` bytes are left on either side."""
    length = chance.choice([512, 1024, 4096, len(content) // 10, len(content) // 4])
    length = max(512, min(length, len(content) // 2))
    last = max(least, len(content) - length - least)
    start = chance.choice([last, chance.randint(least, last), chance.randint(least, last) // 512 * 512])
    return start, min(start + length, len(content))


def bytes_zeroed(chance: Random, content: bytearray) -> bytearray:
    """A part is zeros, the end perhaps: it never arrived, or the disk lost it."""
    start, stop = _inside(chance, content)
    content[start:stop] = bytes(stop - start)
    return content


def bytes_removed(chance: Random, content: bytearray) -> bytearray:
    """A part in the middle is left out.

    An odd number of bytes: packets of MPEG streams have equal sizes, and a multiple of them can be taken out unseen.
    """
    start, stop = _inside(chance, content, len(content) // 8)
    return content[:start] + content[stop | 1 if start % 2 == 0 else stop & ~1 :]


LOSSES: dict[str, Mutation] = {mutation.__name__: mutation for mutation in (bytes_zeroed, bytes_removed)}
"""Bytes are lost inside the file: a clip of what is left must be that of the whole file (`check_same`)."""
UNSEEN = {
    "bytes_zeroed": ("rawvideo.avi", ".nut", ".rm"),
    "bytes_removed": (".nut", ".rm", ".h264", ".hevc", ".gif"),
}
"""Ends of names of files in which a loss leaves no trace: containers that are not followed, streams without structure,
and pixels that may have any value."""
MUTATIONS: dict[str, Mutation] = {
    mutation.__name__: mutation
    for mutation in (
        truncated,
        header_bits_flipped,
        header_bytes_changed,
        data_bits_flipped,
        block_zeroed,
        tail_appended,
        chunks_swapped,
        chunk_repeated_or_lost,
        lengths_blown_up,
    )
}


def mutant(content: bytes, mutation: str, seed: str) -> bytes:
    """Damage a file; the same for the same seed.

    >>> mutant(b"abcdef", "truncated", "1") == mutant(b"abcdef", "truncated", "1") != b"abcdef"
    True
    """
    return bytes((MUTATIONS | LOSSES)[mutation](Random(seed), bytearray(content)))


def shows_loss(name: str, mutation: str) -> bool:
    """Whether a loss of a kind must be seen in a file."""
    return mutation in LOSSES and not name.endswith(UNSEEN[mutation])


def check_same(clip: DecodedClip, whole: DecodedClip) -> None:
    """Assert that a clip of a damaged file has the frames of the whole file."""
    np.testing.assert_array_equal(clip.sample.frame_index, whole.sample.frame_index, "other frames")
    np.testing.assert_array_equal(clip.sample.pts_seconds, whole.sample.pts_seconds, "other times")
    np.testing.assert_array_equal(clip.sample.frames, whole.sample.frames, "other pictures")


def check_sane(clip: DecodedClip, options: DecodeOptions) -> None:
    """Assert what holds for every clip, however damaged its file."""
    sample, source = clip.sample, clip.source
    assert sample.frames.shape == (options.num_frames, options.image_size, options.image_size, 3)
    assert bool(np.all(np.isfinite(sample.pts_seconds)))
    assert sample.pts_seconds[0] >= 0
    assert bool(np.all(np.diff(sample.pts_seconds) >= 0))
    assert bool(np.all(np.diff(sample.frame_index) >= 0))
    assert 0 <= sample.frame_index[0] <= sample.frame_index[-1] < source.num_frames
    assert sample.pts_seconds[-1] < source.duration_seconds < float("inf")
