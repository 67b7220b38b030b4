"""Two runs at once on one store never mix: who writes holds a claim, and a dead holder's claim expires.

It works on every `StoreFolder`: there is nothing but whole files that are written, read, listed and removed; no
compare-and-swap and no lock of the file system. A claim is two files:

    claims/ID.json   who it is, and what it writes: written once, removed once, under an id that is never used again
    claims/ID.beat   a number; its holder writes the next one every few seconds. There is none while it is only asking.

**Asking.** A run writes its claim, then lists the claims. It holds what it claims when it sees no other claim that
excludes it. Of two such runs, the one that wrote last sees the other's claim, for that one was there when it listed.
That needs a listing that shows every file whose writing has ended before: local disks, S3 (since December 2020) and
the servers that speak its language give it. NFS gives it too, though it caches listings: who has just written into a
folder has its own cache of it renewed.

**Both see each other.** The one with the larger id withdraws, the other waits until it has: the larger may as well
have listed first, have seen nothing, and hold. Who holds says so by its first beat, and that one is not waited for.
Before a run asks again it waits until it sees no claim, so those that ask do not keep each other from it for ever.

**Death.** A process of the same machine is looked up: it runs, or its claim is dead at once. Any other is watched, and
is alive when its files change, dead when they did not for `lease_seconds` of the watcher's own clock: the clocks of two
machines are never compared. Time counts only as far as it was watched: where the file system, or the watcher itself,
stood still for a minute, that minute is not the other's silence. Who finds a claim dead removes it.

**Wrongly taken for dead** (stopped, or cut off from the store, for longer than the lease). Its claim is gone, and
nothing brings it back: only its beat is ever written again, and a beat without its claim counts for nothing. Each write
through the claimed folder asks whether the claim is there, in whichever process of the run, and raises
`ClaimLostError`. Case by case, where a run loses its claim:

    while it is asking         it looks for its claim once more before it begins, and asks anew
    before a write             the write raises
    in the middle of a write   on a file system the half-written file is removed, after the claim and before the new
                               holder begins, so that it cannot be renamed into its place. In an object store a request
                               on its way may still arrive: that of the same command carries the same bytes, and any
                               other does not fit the checksum of the commit record, which reading and verifying find
    when it ends               it removes files that are gone; a last beat is removed by it, or by the next run

So nothing depends on a beat being in time: a holder that could not write one for a while, since the disk was full or a
server was gone, goes on where nobody took over.
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
"""A holder shows this often that it is alive."""

LEASE_SECONDS = 30.0
"""A run of another machine that was silent for so long is dead: six beats, for one may be late."""

POLL_SECONDS = 1.0
"""Who watches or waits looks this often."""

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimTimes:
    """How long things take. All runs on a store must agree on it, so only tests have another."""

    beat_seconds: float = BEAT_SECONDS
    lease_seconds: float = LEASE_SECONDS
    poll_seconds: float = POLL_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


TIMES = ClaimTimes()


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
    times: ClaimTimes = TIMES,
) -> Iterator[StoreFolder]:
    """Hold a claim on what a command writes, until the end of the block.

    Args:
        folder: The store, or where it will be.
        command: Name of the command, for those who find the store busy.
        stages: What it writes, as commit records name it; `ANY_STAGE` for everything.
        partition: `"i/n"` where this run does only a part: runs of other parts of the same job may write at once.
        inputs: Fingerprint of all that decides what the command makes; parts of one job have the same.
        wait_seconds: For how long to wait for a run that holds the store; None is for ever. Finding out whether it is
            alive may take `LEASE_SECONDS` more.
        say: Is told in one sentence what is waited for.
        times: For tests.

    Yields:
        The folder through which to write: `claim` of it is the id, by which other processes of this run write too.
        Half-written files of runs that are dead have been removed from it.

    Raises:
        StoreBusyError: Another run holds it; the message says who.
        StoreWriteError: The store cannot be written to.
    """
    unclaimed = folder.claimed_by(None)
    wanted = Claim.of_this_process(command, stages, partition, inputs)
    claim_id = _Asking(unclaimed, wanted, say, times).acquire(wait_seconds)
    heartbeat = _Heartbeat(unclaimed, claim_id, times)
    try:
        # After the claims of the dead, and before the first write: with it goes what a run that only seemed dead is
        # writing at this moment.
        unclaimed.remove_partial_files()
        heartbeat.start()
        yield folder.claimed_by(claim_id)
    finally:
        if os.getpid() == wanted.process.pid:  # else it is a fork of the holder that ends here
            heartbeat.stop()
            _release(unclaimed, claim_id)


def claims_on(folder: StoreFolder) -> tuple[Claim, ...]:
    """Every claim there is, the dead and the damaged among them; nothing is written."""
    seen = (read_claim(folder, claim_id) for claim_id in list_claims(folder))
    return tuple(one.claim for one in seen if one is not None)


class _Asking:
    """One run that wants a claim, and what it has seen of the others."""

    def __init__(self, folder: StoreFolder, wanted: Claim, say: Callable[[str], None], times: ClaimTimes) -> None:
        self._folder = folder
        self._wanted = wanted
        self._say = say
        self._times = times
        self._watched: dict[str, _Watched] = {}
        self._told: set[str] = set()

    def acquire(self, wait_seconds: float | None) -> str:
        """Ask until the claim is held; its id.

        Raises:
            StoreBusyError: Another run has held it for as long as this one was to wait.
        """
        remove_stray_beats(self._folder)
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
                        f"looking for up to {self._times.lease_seconds:g} s whether it is still at work"
                    )
            self._pause()

    def _ask(self) -> str | None:
        """Claim under a new id; the id where that is held now, None where another one was faster."""
        mine = replace(self._wanted, id=Claim.new_id())
        is_held = False
        try:
            write_claim(self._folder, mine)
            while rivals := self._rivals(mine):
                if any(rival.claim.id < mine.id or rival.will_stay(self._times) for rival in rivals):
                    return None
                self._pause()  # each of them withdraws, or is found to hold it
            write_beat(self._folder.claimed_by(mine.id), mine.id, 0)
            is_held = True
            return mine.id
        except ClaimLostError:  # this run stood still while it asked, and was taken for dead: nothing is lost yet
            return None
        finally:
            if not is_held:
                _release(self._folder, mine.id)

    def _rivals(self, mine: Claim) -> list[_Watched]:
        """The claims that exclude this one and are not dead, as they stand; what is found dead is removed."""
        rivals = []
        for claim_id in list_claims(self._folder):
            seen = read_claim(self._folder, claim_id) if claim_id != mine.id else None
            if seen is None:
                continue  # it is this one, or was removed since it was listed
            watched = self._watched.setdefault(claim_id, _Watched(seen, self._times.clock()))
            watched.look(seen, self._times)
            if watched.is_alive(self._times) is False:
                # Two may find this at once, and the run may have ended by itself: an id never comes back, so to
                # remove it twice does no harm.
                remove_claim(self._folder, claim_id)
                self._tell(f"{seen.claim} is gone: its claim on {self._folder.place} is removed")
            elif why_excluded(mine, seen.claim):
                rivals.append(watched)
        return rivals

    def _pause(self) -> None:
        self._times.sleep(self._times.poll_seconds * random.uniform(0.5, 1))  # runs that began at once drift apart

    def _tell(self, sentence: str) -> None:
        if sentence not in self._told:
            self._told.add(sentence)
            self._say(sentence)

    def _busy(self, holder: Claim) -> str:
        return (
            f"{self._folder.place} is being written to by {holder}; {why_excluded(self._wanted, holder)}. "
            "Give --wait to begin when it has ended. Once a run is gone, its claim expires by itself "
            f"(after {self._times.lease_seconds:g} s without a sign of life, where it ran on another machine)"
        )


class _Watched:
    """What was seen of another run's claim since it was first seen."""

    def __init__(self, seen: SeenClaim, now: float) -> None:
        self._seen = seen
        self._last_look = now
        self._silent_seconds = 0.0
        self._has_changed = False

    @property
    def claim(self) -> Claim:
        """Whose it is."""
        return self._seen.claim

    def look(self, seen: SeenClaim, times: ClaimTimes) -> None:
        """Take note of how it stands now."""
        now = times.clock()
        if seen.content != self._seen.content:
            self._silent_seconds, self._has_changed = 0.0, True
        else:  # where this process or the file system stood still, the other may have been kept from beating as well
            self._silent_seconds += min(now - self._last_look, 2 * times.poll_seconds)
        self._seen, self._last_look = seen, now

    def is_alive(self, times: ClaimTimes) -> bool | None:
        """Whether the run is alive; None as long as that is not known."""
        running = is_running(self.claim.process)
        if running is not None:
            return running
        if self._silent_seconds >= times.lease_seconds:
            return False
        return True if self._has_changed else None

    def will_stay(self, times: ClaimTimes) -> bool:
        """Whether it holds what it claims: it says so, or it was asking for so long that something is wrong with it."""
        return self._seen.is_held or self._silent_seconds >= times.lease_seconds


class _Heartbeat:
    """A thread that shows that the holder is alive. A process that is forked off the holder has none."""

    def __init__(self, folder: StoreFolder, claim_id: str, times: ClaimTimes) -> None:
        self._folder = folder
        self._claim_id = claim_id
        self._times = times
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fda-claim", daemon=True)

    def start(self) -> None:
        """Begin; the first beat was written when the claim was taken."""
        self._thread.start()

    def stop(self) -> None:
        """End, and wait for a beat that is being written."""
        self._end.set()
        if self._thread.ident is not None:  # it was started
            self._thread.join()

    def _run(self) -> None:
        number, is_failing = 1, False
        while not self._end.wait(self._times.beat_seconds):
            try:
                write_beat(self._folder.claimed_by(self._claim_id), self._claim_id, number)
                is_failing = False
            except ClaimLostError:  # the next write of the run itself says so
                return
            except (OSError, StoreError) as error:
                if not is_failing:
                    _logger.warning("cannot renew the claim on %s, trying on: %s", self._folder.place, error)
                is_failing = True
            number += 1


def _release(folder: StoreFolder, claim_id: str) -> None:
    """Give a claim back. It never fails: it may be an error that ends the run, and this one would hide it."""
    try:
        remove_claim(folder, claim_id)
        folder.remove_partial_files()
    except (OSError, StoreError) as error:
        if _may_be_there(folder, claim_id):
            _logger.warning("the claim of this run stays until the next run finds it gone: %s", error)


def _may_be_there(folder: StoreFolder, claim_id: str) -> bool:
    try:
        return folder.num_bytes(json_name(claim_id)) is not None
    except (OSError, StoreError):  # the server is gone, or the disk
        return True
