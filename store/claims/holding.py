"""Two runs never write the same into a store at once: a writing run holds a claim, and that of a dead run expires.

It works on every `StoreFolder`, as it only writes, reads, lists and removes whole files: no compare-and-swap, and no
lock of the file system. A claim is two files:

    claims/ID.json   the run, and what it writes: written once, removed once, under an id that is never used again
    claims/ID.beat   heartbeat: a number; the holder writes the next one every few seconds. None while it only asks.

**Asking.** A run writes its claim, then lists the claims. It holds what it claims when it sees no other claim that
excludes it. Of two such runs, the one that wrote last sees the other's claim, because that was there when it listed.
This needs listings that show every file whose writing has ended before: local disks have them, and so have S3 (since
December 2020) and servers with its protocol. NFS has them too, though it caches listings: a client that has just
written into a folder reads that folder again.

**Both see each other.** The one with the larger id withdraws, the other waits until it has. It may also turn out that
the larger one listed first, saw nothing, and holds its claim: its first heartbeat shows that, and then the smaller one
withdraws. A run that withdrew waits until it sees no claim before it asks again, so two runs cannot block each other
for ever.

**Death.** A process of the same machine is looked up: if it does not run, its claim is dead at once. Any other run is
watched. It is alive when its files change, and dead when they have not for `lease_seconds` of the watcher's own clock:
the clocks of two machines are never compared. Only time in which the watcher looked counts: if the file system or the
watcher itself was blocked for a minute, that minute is not silence of the other. The run that finds a claim dead
removes it.

**Wrongly considered dead** (suspended, or cut off from the store, for longer than the lease). Its claim is removed, and
nothing brings it back: only its heartbeat is written again, and a heartbeat without its claim means nothing. Each write
through the claimed folder, in every process of the run, checks that the claim exists, and raises `ClaimLostError`
otherwise. The cases in which a run loses its claim:

    while it is asking         it looks for its claim once more before it begins, and asks again
    before a write             the write raises
    in the middle of a write   on a file system the partial file is removed, after the claim and before the new holder
                               begins, so that it cannot be renamed to its final name. In an object store a request
                               on its way may still arrive: that of the same command has the same bytes, and any
                               other fails the checksum of the commit record, which readers and `fda verify` detect
    when it ends               it removes files that no longer exist; a last heartbeat is removed by it or the next run

So nothing depends on a heartbeat being in time: a holder that could not write one for a while, because the disk was
full or a server was down, continues if no other run has claimed the store.
"""

from __future__ import annotations

import logging
import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from store.claims.claim import (
    ANY_STAGE,
    Claim,
    SeenClaim,
    json_name,
    list_claims,
    read_claim,
    remove_claim,
    remove_stray_beats,
    why_excluded,
    write_beat,
    write_claim,
)
from store.claims.processes import is_running
from store.errors import ClaimLostError, StoreBusyError, StoreError
from store.places.folder import StoreFolder

__all__ = ["ANY_STAGE", "BEAT_SECONDS", "LEASE_SECONDS", "Claim", "ClaimTimes", "claimed", "claims_on"]

BEAT_SECONDS = 5.0
"""Time between two heartbeats."""

LEASE_SECONDS = 30.0
"""A run of another machine without a heartbeat for so long is dead: six beats, as one may be late."""

POLL_SECONDS = 1.0
"""Time between two looks at the claims of others."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimTimes:
    """The times of the protocol. All runs on a store must use the same, so only tests change them."""

    beat_seconds: float = BEAT_SECONDS
    lease_seconds: float = LEASE_SECONDS
    poll_seconds: float = POLL_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


TIMES = ClaimTimes()


def ignore_removed(names: Sequence[str]) -> None:
    """A listener that does nothing."""


@contextmanager
def claimed(
    folder: StoreFolder,
    command: str,
    stages: Sequence[str],
    *,
    partition: str | None = None,
    inputs: str = "",
    wait_seconds: float | None = 0,
    say: Callable[[str], None] = _logger.info,
    on_removed: Callable[[Sequence[str]], object] = ignore_removed,
    times: ClaimTimes = TIMES,
) -> Iterator[StoreFolder]:
    """Hold a claim on what a command writes, until the end of the block.

    Args:
        folder: The store, or where it will be.
        command: Name of the command, for the messages of other runs.
        stages: What it writes, by the names in commit records; `ANY_STAGE` for everything.
        partition: `"i/n"` if this run does only a part: runs of other parts of the same job may write at once.
        inputs: Fingerprint of everything that the output depends on; parts of one job have the same.
        wait_seconds: How long to wait for a run that holds the store; None is for ever. To find out whether it is alive
            may take `LEASE_SECONDS` more.
        say: Called with one sentence about what is waited for.
        on_removed: Called with the names of files of dead runs that were removed: when the block begins, and when it
            has ended.
        times: For tests.

    Yields:
        The folder to write through. Its `claim` is the id, with which other processes of this run write too.
        Half-written files of dead runs have been removed from it.

    Raises:
        StoreBusyError: Another run holds it; the message names it.
        StoreWriteError: The store cannot be written to.
    """
    unclaimed = folder.claimed_by(None)
    wanted = Claim.of_this_process(command, stages, partition, inputs)
    asking = _Asking(unclaimed, wanted, say, times)
    claim_id = asking.acquire(wait_seconds)
    heartbeat = _Heartbeat(unclaimed, claim_id, times)
    try:
        # After the claims of dead runs were removed, and before the first write: a run that only seemed dead loses here
        # the file that it is writing at this moment.
        on_removed([*asking.removed, *unclaimed.remove_partial_files()])
        heartbeat.start()
        yield folder.claimed_by(claim_id)
    finally:
        if os.getpid() == wanted.process.pid:  # otherwise a fork of the holder ends here, and the holder goes on
            heartbeat.stop()
            on_removed(_release(unclaimed, claim_id))


def claims_on(folder: StoreFolder) -> tuple[Claim, ...]:
    """Every claim, including dead and damaged ones; nothing is written."""
    claims = (read_claim(folder, claim_id) for claim_id in list_claims(folder))
    return tuple(seen.claim for seen in claims if seen is not None)


class _Asking:
    """A run that wants a claim, and what it has seen of the others."""

    def __init__(self, folder: StoreFolder, wanted: Claim, say: Callable[[str], None], times: ClaimTimes) -> None:
        self._folder = folder
        self._wanted = wanted
        self._say = say
        self._times = times
        self._watched: dict[str, _Watched] = {}
        self._told: set[str] = set()
        self.removed: list[str] = []
        """Files of dead runs."""

    def acquire(self, wait_seconds: float | None) -> str:
        """Ask until this run holds the claim, and return its id.

        Raises:
            StoreBusyError: Another run has held it for `wait_seconds`.
        """
        self.removed += remove_stray_beats(self._folder)
        while True:
            self._wait_until_free(wait_seconds)
            claim_id = self._ask()
            if claim_id is not None:
                return claim_id
            self._pause()

    def _wait_until_free(self, wait_seconds: float | None) -> None:
        found_busy: float | None = None
        while rivals := self._rivals(self._wanted):
            holders = [rival for rival in rivals if rival.is_alive(self._times) and rival.will_stay(self._times)]
            if holders:
                now = self._times.clock()
                found_busy = now if found_busy is None else found_busy
                if wait_seconds is not None and now - found_busy >= wait_seconds:
                    raise StoreBusyError(self._busy(holders[0].claim))
                self._tell(f"waiting for {holders[0].claim}, which is writing into {self._folder.place}")
            for rival in rivals:
                if rival.is_alive(self._times) is None:
                    self._tell(
                        f"{self._folder.place} is claimed by {rival.claim}: "
                        f"watching it for up to {self._times.lease_seconds:g} s to see whether it is still active"
                    )
            self._pause()

    def _ask(self) -> str | None:
        """Claim under a new id; return the id if the claim is held now, None if another run was faster."""
        mine = replace(self._wanted, id=Claim.new_id())
        is_held = False
        try:
            write_claim(self._folder, mine)
            while rivals := self._rivals(mine):
                if any(rival.claim.id < mine.id or rival.will_stay(self._times) for rival in rivals):
                    return None
                self._pause()  # until each of them withdraws, or turns out to hold its claim
            # Through the claimed folder: it raises if another run removed the claim in the meantime.
            write_beat(self._folder.claimed_by(mine.id), mine.id, 0)
            is_held = True
            return mine.id
        except ClaimLostError:  # this run was suspended while it asked, and considered dead: it has written nothing yet
            return None
        finally:
            if not is_held:
                _release(self._folder, mine.id)

    def _rivals(self, mine: Claim) -> list[_Watched]:
        """The claims that exclude this one and are not dead, as they are now; claims found dead are removed."""
        rivals = []
        for claim_id in list_claims(self._folder):
            seen = read_claim(self._folder, claim_id) if claim_id != mine.id else None
            if seen is None:
                continue  # it is our own, or was removed since it was listed
            watched = self._watched.setdefault(claim_id, _Watched(seen, self._times.clock()))
            watched.look(seen, self._times)
            if watched.is_alive(self._times) is False:
                # Two runs may find this at once, and the dead run may have ended by itself. An id is never used again,
                # so removing it twice does no harm.
                remove_claim(self._folder, claim_id)
                self.removed += seen.names
                self._tell(f"{seen.claim} has ended: its claim on {self._folder.place} is removed")
            elif why_excluded(mine, seen.claim):
                rivals.append(watched)
        return rivals

    def _pause(self) -> None:
        # random, so that runs that began at once drift apart
        self._times.sleep(self._times.poll_seconds * random.uniform(0.5, 1))

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._say(sentence)

    def _busy(self, holder: Claim) -> str:
        return (
            f"{self._folder.place} is being written to by {holder}; {why_excluded(self._wanted, holder)}. "
            "Give --wait to begin when it has ended. The claim of a run that was killed expires by itself "
            f"(after {self._times.lease_seconds:g} s without a sign of life, if it ran on another machine)"
        )


class _Watched:
    """Another run's claim, with what was observed since it was first seen."""

    def __init__(self, seen: SeenClaim, now: float) -> None:
        self._seen = seen
        self._last_look = now
        self._silent_seconds = 0.0
        self._has_changed = False

    @property
    def claim(self) -> Claim:
        """The claim."""
        return self._seen.claim

    def look(self, seen: SeenClaim, times: ClaimTimes) -> None:
        """Note its state now."""
        now = times.clock()
        if seen.content != self._seen.content:
            self._silent_seconds, self._has_changed = 0.0, True
        else:  # capped: if this process or the file system was blocked, the other may have been unable to beat too
            self._silent_seconds += min(now - self._last_look, 2 * times.poll_seconds)
        self._seen, self._last_look = seen, now

    def is_alive(self, times: ClaimTimes) -> bool | None:
        """Whether the run is alive; None while that is not known."""
        running = is_running(self.claim.process)
        if running is not None:
            return running
        if self._silent_seconds >= times.lease_seconds:
            return False
        return True if self._has_changed else None

    def will_stay(self, times: ClaimTimes) -> bool:
        """Whether it will not withdraw: it holds its claim, or has asked for so long that something is wrong."""
        return self._seen.is_held or self._silent_seconds >= times.lease_seconds


class _Heartbeat:
    """A thread that shows that the holder is alive. A forked child of the holder has none."""

    def __init__(self, folder: StoreFolder, claim_id: str, times: ClaimTimes) -> None:
        self._folder = folder
        self._claim_id = claim_id
        self._times = times
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fda-claim", daemon=True)

    def start(self) -> None:
        """Start the thread; the first beat was written when the claim was taken."""
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, and wait for a beat that is being written."""
        self._end.set()
        if self._thread.ident is not None:  # the thread was started
            self._thread.join()

    def _run(self) -> None:
        number, is_failing = 1, False
        while not self._end.wait(self._times.beat_seconds):
            try:
                write_beat(self._folder.claimed_by(self._claim_id), self._claim_id, number)
                is_failing = False
            except ClaimLostError:  # the next write of the run itself raises it
                return
            except (OSError, StoreError) as error:
                if not is_failing:
                    _logger.warning("cannot renew the claim on %s, trying again: %s", self._folder.place, error)
                is_failing = True
            number += 1


def _release(folder: StoreFolder, claim_id: str) -> list[str]:
    """Give a claim back, and return the names of files of dead runs that were removed.

    Never raises: an error here would hide the error that ends the run.
    """
    try:
        remove_claim(folder, claim_id)
        return folder.remove_partial_files()
    except (OSError, StoreError) as error:
        if _may_exist(folder, claim_id):
            _logger.warning("the claim of this run stays until the next run finds that this one has ended: %s", error)
        return []


def _may_exist(folder: StoreFolder, claim_id: str) -> bool:
    try:
        return folder.num_bytes(json_name(claim_id)) is not None
    except (OSError, StoreError):  # the server cannot be reached, or the disk fails
        return True
