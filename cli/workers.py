"""How many workers a command starts, and what it says of them."""

from __future__ import annotations

from cli.output.printing import plural, say
from pipeline.run.resources import NeedsMemory, machine_memory_mib


def fitting_workers(wanted: int, num_shards: int, memory: NeedsMemory, *, alone: str, remedy: str) -> int:
    """No more workers than shards that are pending, and than fit into memory; says what they take.

    Args:
        wanted: Workers; 0 for the work to be done in this process.
        num_shards: Pending.
        memory: What one takes.
        alone: Where the work is done without workers.
        remedy: What to do about workers that do not fit.
    """
    wanted = min(wanted, num_shards)
    if num_shards == 0:
        return 0
    if wanted == 0:
        say(f"{alone}, at most about {memory.total_mib:,} MiB")
        return 0
    machine_mib = machine_memory_mib()
    num_workers = memory.num_fitting(wanted, machine_mib)
    why = f": {wanted} do not fit into {machine_mib:,} MiB ({remedy})" if num_workers < wanted else ""
    say(f"{plural(num_workers, 'worker')}, at most about {memory.total_mib:,} MiB each{why}")
    return num_workers
