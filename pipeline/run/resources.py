"""Cores and memory: one thread per process, and how many workers fit into the memory of the machine.

A worker is a thread or a process, which holds one shard, and its decoder, a process that holds the pictures to which a
codec refers. Nearly always only one of them is busy. A worker takes at most

    BASE_MIB                        both, before any video
    + SHARD_COPIES x shard          frames while they are put together, encoded and written
    + CLIP_COPIES x clip            one in each process, one on its way
    + decoder_memory_mib            enforced by the kernel: a video that needs more fails

where a shard is shard_size clips, and a clip num_frames x image_size x image_size x 3 bytes. The last term is the
largest. It is a limit, not what is used: a 360p video takes 30 MiB of it, 2160p 450, and 8K in 8 bits 1100. A codec
keeps up to 16 pictures and a few in progress: about 20 times 1.5 bytes a pixel in 8 bits 4:2:0, twice that in 10 bits.

Where there are more workers than shards, the others are decoders alone, which take DECODER_BASE_MIB and the last two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from pipeline.run.machine import memory_bytes

_THREAD_LIMITS = ("OMP", "OPENBLAS", "MKL", "BLIS", "NUMEXPR")
ONE_THREAD = {f"{library}_NUM_THREADS": "1" for library in _THREAD_LIMITS} | {
    "VECLIB_MAXIMUM_THREADS": "1",
    "BLOSC_NTHREADS": "1",
}
"""Environment of every process that is started to work: there is one for each core, so libraries must not start
threads."""

BASE_MIB = 320
DECODER_BASE_MIB = 70
SHARD_COPIES = 4
CLIP_COPIES = 3
DECODER_MEMORY_MIB = 2048
"""Enough for 8K (7680 x 4320) in H.264 and in 10-bit HEVC, measured."""
SHARE_OF_MACHINE = 0.9
"""The rest is for the coordinator, the system and its file cache."""


class NeedsMemory(Protocol):
    """The memory that one worker of some command takes."""

    @property
    def total_mib(self) -> int:
        """At most."""

    def num_fitting(self, num_workers: int, machine_mib: int) -> int:
        """How many of the requested workers fit into a machine; at least one, because the figure is an upper limit."""


@dataclass(frozen=True, slots=True)
class WorkerMemory:
    """The memory that one worker of `fda preprocess` takes at most."""

    shard_size: int
    """Videos."""
    num_frames: int
    """Of the longest clips."""
    image_size: int
    """Pixels."""
    decoder_memory_mib: int = DECODER_MEMORY_MIB

    @property
    def worker_mib(self) -> int:
        """Without the decoder's limit: the formula above without its last term.

        >>> WorkerMemory(shard_size=16, num_frames=12, image_size=224).worker_mib  # a shard has 27.6 MiB
        435
        """
        return BASE_MIB + (SHARD_COPIES * self.shard_size + CLIP_COPIES) * self._clip_bytes // (1 << 20)

    @property
    def decoder_mib(self) -> int:
        """A decoder that works at a shard which another worker holds.

        >>> WorkerMemory(shard_size=16, num_frames=12, image_size=224).decoder_mib
        2123
        """
        return DECODER_BASE_MIB + CLIP_COPIES * self._clip_bytes // (1 << 20) + self.decoder_memory_mib

    @property
    def total_mib(self) -> int:
        """A worker and its decoder.

        >>> WorkerMemory(shard_size=16, num_frames=12, image_size=224).total_mib
        2483
        """
        return self.worker_mib + self.decoder_memory_mib

    def num_fitting(self, num_workers: int, machine_mib: int) -> int:
        """How many of the requested workers fit into a machine; at least one, because the figure is an upper limit.

        >>> memory = WorkerMemory(shard_size=16, num_frames=12, image_size=224)
        >>> memory.num_fitting(8, machine_mib=16 << 10), memory.num_fitting(2, 16 << 10), memory.num_fitting(2, 1 << 10)
        (5, 2, 1)
        """
        return max(1, min(num_workers, int(machine_mib * SHARE_OF_MACHINE) // self.total_mib))

    @property
    def _clip_bytes(self) -> int:
        return self.num_frames * self.image_size**2 * 3


def machine_memory_mib() -> int:
    """Memory of this machine, or less if a container or batch system limits it (cgroup and resource limits)."""
    return memory_bytes() >> 20
