"""Cores and memory: one thread a process, and how many workers the memory of the machine allows.

A worker is two processes, of which one at a time is busy but for moments: the worker itself, which holds one shard,
and its decoder, which holds the pictures that a codec refers to. What a worker takes at most is

    BASE_MIB                        both processes, before any video
    + SHARD_COPIES x shard          frames while they are put together, encoded and written
    + CLIP_COPIES x clip            one in each process, one on its way
    + decoder_memory_mib            kept by the kernel: a video that wants more is refused

where a shard is shard_size clips, and a clip num_frames x image_size x image_size x 3 bytes. The last term is the
largest, and it is a limit, not a use: 360p takes 30 MiB of it, 2160p 450, and 8K in 8 bits 1100. A codec keeps up to 16
pictures and some on their way: about 20 times 1.5 bytes a pixel in 8 bits 4:2:0, twice that in 10 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

_THREAD_LIMITS = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in _THREAD_LIMITS} | {
    "VECLIB_MAXIMUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}
"""Environment of every process that works: there is one for each core, so a library must not start threads too."""

BASE_MIB = 320
SHARD_COPIES = 4
CLIP_COPIES = 3
DECODER_MEMORY_MIB = 2048
"""Enough for 8K (7680 x 4320) in H.264 and in 10-bit HEVC, measured."""
SHARE_OF_MACHINE = 0.9
"""The rest is for the coordinator, the system and its cache of files."""


class NeedsMemory(Protocol):
    """What one worker of some stage takes."""

    @property
    def total_mib(self) -> int:
        """At most."""

    def num_fitting(self, num_workers: int, machine_mib: int) -> int:
        """How many of the workers wanted fit into a machine; one at least, for one has to be tried."""


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """What one worker takes at most, and how many of them there can be."""

    shard_size: int
    """Videos."""
    num_frames: int
    """Of the longest clips."""
    image_size: int
    """Pixels."""
    decoder_memory_mib: int = DECODER_MEMORY_MIB

    @property
    def worker_mib(self) -> int:
        """Outside the decoder's own limit: what the formula above says but for its last term.

        >>> WorkerMemory(shard_size=16, num_frames=12, image_size=224).worker_mib  # a shard has 27.6 MiB
        435
        """
        clip = self.num_frames * self.image_size**2 * 3
        return BASE_MIB + (SHARD_COPIES * self.shard_size * clip + CLIP_COPIES * clip) // (1 << 20)

    @property
    def total_mib(self) -> int:
        """Both processes of a worker.

        >>> WorkerMemory(shard_size=16, num_frames=12, image_size=224).total_mib
        2483
        """
        return self.worker_mib + self.decoder_memory_mib

    def num_fitting(self, num_workers: int, machine_mib: int) -> int:
        """How many of the workers wanted fit into a machine; one at least, for one has to be tried.

        >>> memory = WorkerMemory(shard_size=16, num_frames=12, image_size=224)
        >>> memory.num_fitting(8, machine_mib=16 << 10), memory.num_fitting(2, 16 << 10), memory.num_fitting(2, 1 << 10)
        (5, 2, 1)
        """
        return max(1, min(num_workers, int(machine_mib * SHARE_OF_MACHINE) // self.total_mib))


def machine_memory_mib() -> int:
    """Memory of this machine, or what a container or batch system leaves of it (cgroup and resource limits)."""
    from distributed.system import memory_limit  # which costs half a second to import

    return int(memory_limit()) >> 20
