"""A store that is made, grown, changed, killed, damaged and repaired in any order is what a plain model says it is."""

from __future__ import annotations

import functools
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import pytest
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from store.errors import StoreError
from store.places.opening import folder_at
from store.verify.findings import Kind
from store.verify.verification import verify
from tests.faults.commands import in_a_fork, run_fda, run_under
from tests.faults.policies import KillAt, Point, Recorder
from tests.faults.scenarios import COMMON, ENCODE, OTHER_MASKS
from tests.faults.trials import NOT_COMPARED, Readable, Trials, readable, trials_in_memory
from tests.seed import seed_number
from tests.stores import tree_digest

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="descriptors are looked up in /proc")

FIRST_VIDEOS = ("train_0", "train_1", "train_2", "test_0", "test_1", "broken")
NEW_VIDEOS = ("train_3", "test_2", "val_0")
REPLACED = ("test_0", "train_2")
"""The videos that are others in the folder `changed`."""
NUM_STORIES = 4
"""Others at each commit."""
Command = tuple[str, ...]


def split_of(video_id: str) -> str:
    return video_id.split("_")[0].replace("broken", "test")


@dataclass(frozen=True, slots=True)
class Made:
    """What clips are made from."""

    folder: str = "videos"
    """videos, repaired (`broken` is a video) or changed (two videos are others)."""
    has_grown: bool = False

    @property
    def videos(self) -> tuple[str, ...]:
        return (*FIRST_VIDEOS, *NEW_VIDEOS) if self.has_grown else FIRST_VIDEOS

    @property
    def filled(self) -> tuple[str, ...]:
        return tuple(one for one in self.videos if one != "broken" or self.folder == "repaired")


@dataclass(frozen=True, slots=True)
class Model:
    """What a store holds once the last command has ended. Masks and features may be older than the clips."""

    made: Made = Made()
    is_recaptioned: bool = False
    masks: Made | None = None
    """What the mask set `other` was made from."""
    features: tuple[Made, bool] | None = None
    """What the feature set `mine` was made from: clips and captions."""
    had_features: bool = False
    """Whether there has been one: the group above it stays when it is removed."""

    @property
    def is_whole(self) -> bool:
        """Whether nothing is pending."""
        return self.masks in (None, self.made) and self.features in (None, (self.made, self.is_recaptioned))

    @property
    def is_from_scratch(self) -> bool:
        """Whether its commands make all of it from nothing."""
        return self.is_whole and self.had_features == (self.features is not None)

    @property
    def manifest(self) -> str:
        return f"{'grown' if self.made.has_grown else 'first'}{'_recaptioned' * self.is_recaptioned}/clips.jsonl"

    @property
    def preprocess(self) -> Command:
        return ("preprocess", self.manifest, "STORE", "--videos", self.made.folder, *COMMON)

    @property
    def commands(self) -> tuple[Command, ...]:
        """The commands that rebuild or repair all of it."""
        return (self.preprocess, *[OTHER_MASKS] * (self.masks is not None), *[ENCODE] * (self.features is not None))

    @property
    def renewed(self) -> Model:
        """After all its commands."""
        return replace(
            self, masks=self.masks and self.made, features=self.features and (self.made, self.is_recaptioned)
        )

    def texts(self, video_id: str) -> tuple[str, str]:
        if self.is_recaptioned and video_id == "train_0":
            return "another text", "and a second"
        return f"{video_id} runs", f"{video_id} moves"

    def check(self, found: Readable) -> None:
        """What readers give is what there is, and nothing that is older than its video."""
        clips = {("clip", split_of(one), "default", one) for one in self.made.filled}
        assert {what for what in found if what[0] == "clip" and what[2] == "default"} == clips
        found = {what: digest for what, digest in found.items() if what[0] != "texts"}
        sets = {(what[0], what[2]) for what in found if what[2] != "default"}
        allowed = [("clip", "other")] * (self.masks is not None)
        allowed += [("video", "mine"), ("caption", "mine")] * (self.features is not None)
        assert sets <= set(allowed)
        for kind, made in (("clip", self.masks), ("video", self.features and self.features[0])):
            here = {what[3] for what in found if what[0] == kind and what[2] != "default"}
            if made == self.made:  # a feature set whose captions are changed is refused, split by split
                old = {"train"} if kind == "video" and self.features != (made, self.is_recaptioned) else set()
                assert here == {one for one in made.filled if split_of(one) not in old}
            elif made is not None and made.folder != self.made.folder:
                others = {"videos": (), "repaired": ("broken",), "changed": REPLACED}
                assert not here & {*others[made.folder], *others[self.made.folder]}
        for what, content in found.items():
            if what[0] == "caption":
                video_id, _, number = what[3].rpartition("#")
                assert content.startswith(self.texts(video_id)[int(number)])


class Oracle:
    """Stores that nothing has disturbed, one for each model."""

    def __init__(self, trials: Trials) -> None:
        self.trials = trials
        self._bases: dict[Model | None, Path] = {None: trials.place.parent.with_name("nothing")}
        self._readable: dict[Model | None, Readable] = {None: {}}

    def reach(self, before: Model | None, command: Command, after: Model) -> None:
        """Make the store of a model: from scratch if the model allows it, else by one command from `before`.

        The order of commands makes no difference to the bytes: a store of this model that was made in another order
        would be found to differ.
        """
        if after in self._bases:
            return
        start, commands = (None, after.commands) if after.is_from_scratch else (before, (command,))
        with self._aside():
            self.trials.start(self._bases[start])
            for one in commands:
                self.trials.world.run(one, self.trials.place)
            base = self.trials.place.parent.with_name(f"model_{len(self._bases)}")
            shutil.copytree(self.trials.place, base)
        self._bases[after] = base
        self._readable[after] = readable(base)

    def files(self, model: Model | None) -> dict[str, str]:
        base = self._bases[model]
        return tree_digest(base, NOT_COMPARED) if base.exists() else {}

    def readable(self, model: Model | None) -> Readable:
        return self._readable[model]

    @contextmanager
    def _aside(self) -> Iterator[None]:
        """Free the place, whose path is part of some messages, and put back what was there."""
        here = self.trials.place.parent
        kept = here.with_name("kept")
        here.rename(kept)
        yield
        shutil.rmtree(here)
        kept.rename(here)


class StoreMachine(RuleBasedStateMachine):
    """Commands, kills and damage."""

    KILLS = st.none() | st.builds(Point, st.integers(0, 120), st.booleans())

    def __init__(self, oracle: Oracle) -> None:
        super().__init__()
        self.oracle, self.trials = oracle, oracle.trials
        self.place = self.trials.place
        shutil.rmtree(self.place.parent, ignore_errors=True)
        self.place.parent.mkdir()
        self.model: Model | None = None
        """Before the command that is pending."""
        self.pending: tuple[Command, Model] | None = None
        """A command that was killed, and what it is to make."""
        self.is_repaired = False
        """Whether things were removed that all commands together rebuild."""

    def do(self, command: Command, after: Model, kill: Point | None) -> None:
        """Run a command, or let it be killed; one that has less to do than the kill waits for ends well."""
        self.oracle.reach(self.model, command, after)
        arguments = self.trials.world.arguments(command, self.place)
        if kill is not None:
            ended = in_a_fork(functools.partial(run_under, KillAt(kill), self.place, arguments))
            assert ended in (0, -signal.SIGKILL), f"the run did not end as it should: {ended}"
            if ended:
                self.pending = command, after
                return
        else:
            run_fda(arguments)
        self.model, self.pending = after, None
        assert tree_digest(self.place, NOT_COMPARED) == self.oracle.files(after)
        found = verify(folder_at(self.place))
        wrong = {one.kind for one in found.findings}
        assert wrong <= (set() if after.is_whole else {Kind.STALE, Kind.UNFINISHED}), found.findings
        assert bool(found.pending) <= (not after.is_whole)

    @property
    def is_idle(self) -> bool:
        return self.model is not None and self.pending is None and not self.is_repaired

    @property
    def at(self) -> Model:
        assert self.model is not None
        return self.model

    @precondition(lambda self: self.model is None and self.pending is None)
    @rule(kill=KILLS, has_grown=st.booleans())
    def create(self, kill: Point | None, has_grown: bool) -> None:
        model = Model(Made(has_grown=has_grown))
        self.do(model.preprocess, model, kill)

    @precondition(lambda self: self.pending is not None and not self.is_repaired)
    @rule(kill=KILLS)
    def resume(self, kill: Point | None) -> None:
        assert self.pending is not None
        self.do(*self.pending, kill)

    @precondition(lambda self: self.is_idle)
    @rule(kill=KILLS)
    def extend(self, kill: Point | None) -> None:
        after = replace(self.at, made=replace(self.at.made, has_grown=True))
        self.do(after.preprocess, after, kill)

    @precondition(lambda self: self.is_idle)
    @rule(kill=KILLS)
    def retry(self, kill: Point | None) -> None:
        if self.at.made.folder == "videos":
            after = replace(self.at, made=replace(self.at.made, folder="repaired"))
            self.do((*after.preprocess, "--retry-failed"), after, kill)

    @precondition(lambda self: self.is_idle)
    @rule(kill=KILLS, folder=st.sampled_from(["videos", "changed"]))
    def change_videos(self, kill: Point | None, folder: str) -> None:
        if self.at.made.folder != "repaired":
            after = replace(self.at, made=replace(self.at.made, folder=folder))
            self.do(after.preprocess, after, kill)

    @precondition(lambda self: self.is_idle)
    @rule(kill=KILLS)
    def update_captions(self, kill: Point | None) -> None:
        after = replace(self.at, is_recaptioned=not self.at.is_recaptioned)
        self.do((*after.preprocess, "--update-captions"), after, kill)

    @precondition(lambda self: self.is_idle)
    @rule()
    def other_captions_are_refused(self) -> None:
        after = replace(self.at, is_recaptioned=not self.at.is_recaptioned)
        with pytest.raises(StoreError, match="update-captions"):
            self.trials.world.run(after.preprocess, self.place)
        assert tree_digest(self.place, NOT_COMPARED) == self.oracle.files(self.model)

    @precondition(lambda self: self.is_idle)
    @rule(kill=KILLS)
    def masks(self, kill: Point | None) -> None:
        self.do(OTHER_MASKS, replace(self.at, masks=self.at.made), kill)

    @precondition(lambda self: self.is_idle)
    @rule(kill=KILLS)
    def encode(self, kill: Point | None) -> None:
        self.do(ENCODE, replace(self.at, features=(self.at.made, self.at.is_recaptioned), had_features=True), kill)

    @precondition(lambda self: self.is_idle and self.model.masks is not None)
    @rule()
    def remove_masks(self) -> None:
        self.do(("remove", "STORE", "--masks", "other", "--yes"), replace(self.at, masks=None), None)

    @precondition(lambda self: self.is_idle and self.model.features is not None)
    @rule()
    def remove_features(self) -> None:
        self.do(("remove", "STORE", "--features", "mine", "--yes"), replace(self.at, features=None), None)

    @precondition(lambda self: self.pending is not None and (self.place / "store.json").exists())
    @rule()
    def a_killed_run_leaves_nothing_that_is_wrong(self) -> None:
        wrong = [one for one in verify(folder_at(self.place)).findings if not one.kind.is_harmless]
        assert {one.kind for one in wrong} <= {Kind.STALE}, wrong

    @precondition(lambda self: self.is_idle)
    @rule(data=st.data(), is_flip=st.booleans())
    def damage_and_repair(self, data: st.DataObject, is_flip: bool) -> None:
        names = [name for name in tree_digest(self.place, NOT_COMPARED) if not name.startswith(("store.", "catalog/"))]
        name = data.draw(st.sampled_from(names))
        path = self.place / name
        content = bytearray(path.read_bytes())
        if is_flip:
            content[data.draw(st.integers(0, len(content) - 1))] ^= 1
            path.write_bytes(content)
        else:
            path.unlink()
        found = verify(folder_at(self.place))
        is_named = name in {one.name for one in found.findings}
        assert is_named or (not is_flip and name.startswith("commits/") and found.pending), f"{name} was not found"
        run_fda(["verify", str(self.place), "--repair", "--no-progress"])
        assert not verify(folder_at(self.place)).num_wrong
        self.is_repaired = True

    @precondition(lambda self: self.is_repaired)
    @rule()
    def make_anew(self) -> None:
        """After a repair, all the commands that made the store."""
        before, after = self.at, self.at.renewed
        for command in before.commands[:-1]:
            run_fda(self.trials.world.arguments(command, self.place))
        self.is_repaired = False
        self.do(before.commands[-1], after, None)

    @invariant()
    def readers_give_what_was_or_will_be(self) -> None:
        if not self.place.exists():
            return
        models = [self.model, *([self.pending[1]] if self.pending else [])]
        found = readable(self.place)
        for what, digest in found.items():
            assert digest in {self.oracle.readable(model).get(what) for model in models}, f"{what} reads wrong"
        if self.is_idle:
            assert found == self.oracle.readable(self.model)
            self.at.check(found)


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    with trials_in_memory() as trials:
        trials.place.parent.mkdir()
        for manifest in list(trials.world.folder.glob("*.jsonl")):  # a store keeps the name of its first manifest
            manifest.with_suffix("").mkdir()
            shutil.copy(manifest, manifest.with_suffix("") / "clips.jsonl")
        yield Oracle(trials)


def test_a_store_is_what_the_model_says(oracle: Oracle) -> None:
    class Machine(StoreMachine):
        def __init__(self) -> None:
            super().__init__(oracle)

    run_state_machine_as_test(
        hypothesis.seed(seed_number("store machine"))(Machine),
        settings=settings(max_examples=NUM_STORIES, stateful_step_count=10),
    )


def test_the_machine_finds_a_record_that_stays_while_its_data_change(
    oracle: Oracle, monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = replace(Model(), made=Made("changed"))
    oracle.reach(None, Model().preprocess, Model())
    oracle.reach(Model(), changed.preprocess, changed)
    monkeypatch.setattr("store.commits.withdraw_commit", lambda *_, **__: False)

    recorder, trials = Recorder(), oracle.trials
    StoreMachine(oracle).create(None, False)
    run_under(recorder, trials.place, trials.world.arguments(changed.preprocess, trials.place))
    machine = StoreMachine(oracle)
    machine.create(None, False)
    machine.change_videos(recorder.before_the_first_record, "changed")
    with pytest.raises(AssertionError, match="reads wrong"):
        machine.readers_give_what_was_or_will_be()
