"""What the machine does to a decoder leaves its video pending: it is tried again alone, and by the next run."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from pipeline.datasets.read import read_dataset
from pipeline.frames.preprocess import ShardsMade, VideoSource, plan_preprocess, preprocess_shards
from pipeline.isolation.decoder import Answer, DecodeRequest
from pipeline.run.events import Event, ItemsDone, Message
from pipeline.upkeep.status import store_status
from pipeline.video.clips import VideoError
from pipeline.workers.dask import DaskExecutor, local_dask
from pipeline.workers.executors import Executor, run_synchronously
from store.clips.shards import read_frames
from store.errors import ShardIncompleteError
from store.schema import VideoStatus
from store.store import Store
from store.verify.verification import verify
from tests.clips_on_disk import SMALL, opened_store, record, write_manifest
from tests.decoders import still_clip
from tests.stores import tree_digest

OPTIONS = replace(SMALL, shard_size=3)
REASON = "the decoder was killed (signal 9, SIGKILL), probably because the machine ran out of memory"


@dataclass(frozen=True)
class StoppingDecoder:
    """Answers as if its process had been killed at files called `killed`, and the first time at those called `once`."""

    is_harmless: bool = False
    kills_all: bool = False

    def decode(self, requests: Iterable[DecodeRequest]) -> Generator[Answer]:
        for position, request in enumerate(requests):
            kind, mark = request.path.stem.split("_")[0], request.path.with_suffix(".killed")
            if self.kills_all:
                yield Answer(position, VideoError(VideoStatus.PENDING, REASON))
            elif kind == "broken" and not self.is_harmless:
                yield Answer(position, VideoError(VideoStatus.CORRUPT, "it is broken"))
            elif not self.is_harmless and (kind == "killed" or (kind == "once" and not mark.exists())):
                mark.touch()
                yield Answer(position, VideoError(VideoStatus.PENDING, REASON))
            else:
                yield Answer(position, still_clip(request.path, request.options, request.window))

    def close(self) -> None:
        """Nothing runs for it."""


STOPPING, HARMLESS = StoppingDecoder(), StoppingDecoder(is_harmless=True)


def made_store(folder: Path, place: Path, *names: str) -> Store:
    for name in names:
        (folder / f"{name}.mp4").write_bytes(name.encode())
    manifest = write_manifest(folder, [record(name, f"{name}.mp4") for name in names])
    return opened_store(read_dataset("jsonl", manifest), str(place), OPTIONS)


class Heard:
    """The messages, and how many items are done and failed, of one run."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.items = ItemsDone()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Message):
            self.messages.append(event.text)
        if isinstance(event, ItemsDone):
            self.items += event


def run(store: Store, root: Path, decoder: StoppingDecoder, executor: Executor, heard: Heard) -> ShardsMade:
    plan = plan_preprocess(store, OPTIONS)
    return preprocess_shards(store, VideoSource(root, decoder=decoder), plan, OPTIONS, executor, heard)


def executor_of(workers: int) -> AbstractContextManager[DaskExecutor | Executor]:
    return local_dask(1) if workers else nullcontext(run_synchronously)


@pytest.mark.parametrize("workers", [0, 1])
def test_videos_whose_decoder_is_killed_once_are_decoded_alone_in_the_same_run(tmp_path: Path, workers: int) -> None:
    names = ["once_1", "clip_2", "clip_3", "clip_4", "once_5", "once_6", "clip_7"]
    whole = made_store(tmp_path, tmp_path / "whole", *names)
    run(whole, tmp_path, HARMLESS, run_synchronously, Heard())
    store, heard = made_store(tmp_path, tmp_path / "store", *names), Heard()
    with executor_of(workers) as executor:
        made = run(store, tmp_path, STOPPING, executor, heard)
    assert (made.tally.num_clips, made.tally.failures, made.tally.pending) == (7, (), ())
    assert heard.messages == ["3 videos tried again alone: the machine stopped the decoding"]
    assert (heard.items.num_done, heard.items.num_failed) == (7, 0)
    assert tree_digest(tmp_path / "store") == tree_digest(tmp_path / "whole")


def test_a_video_whose_decoder_is_killed_each_time_stays_pending_with_the_reason_until_a_run_decodes_it(
    tmp_path: Path,
) -> None:
    names = ["killed_1", "broken", "clip_2", "clip_3"]
    store, heard = made_store(tmp_path, tmp_path / "store", *names), Heard()
    made = run(store, tmp_path, STOPPING, run_synchronously, heard)
    assert [(one.video_id, one.reason) for one in made.tally.pending] == [("killed_1", REASON)]
    assert [(one.video_id, str(one.status)) for one in made.tally.failures] == [("broken", "corrupt")]
    assert (made.tally.num_clips, heard.items.num_done, heard.items.num_failed) == (2, 3, 1)
    status = store_status(store)
    assert [(one.video_id, one.reason) for one in status.pending] == [("killed_1", REASON)]
    assert [stage.num_done for stage in status.splits[0].stages] == [1, 1]
    assert all(finding.kind.is_harmless for finding in verify(store.folder).findings)
    with pytest.raises(ShardIncompleteError):
        read_frames(store, store.shards("test")[0])
    (shard,) = plan_preprocess(store, OPTIONS).pending
    assert (shard.shard.key, shard.kept_rows) == ("test/00000", (1, 2))

    made = run(store, tmp_path, HARMLESS, run_synchronously, Heard())
    assert (made.tally.num_clips, len(made.tally.failures), made.tally.pending) == (3, 1, ())
    assert (made.num_frames, plan_preprocess(store, OPTIONS).pending) == (OPTIONS.eval_frames, ())
    assert not (tmp_path / "store" / "withdrawn").exists()


def test_a_failed_video_that_is_tried_again_and_killed_is_pending_and_keeps_the_other_clips(
    tmp_path: Path,
) -> None:
    store = made_store(tmp_path, tmp_path / "store", "clip_1", "broken_1", "clip_2")
    assert len(run(store, tmp_path, STOPPING, run_synchronously, Heard()).tally.failures) == 1
    plan = plan_preprocess(store, OPTIONS, retry_failed=True)
    made = preprocess_shards(store, VideoSource(tmp_path, decoder=StoppingDecoder(kills_all=True)), plan, OPTIONS)
    assert [one.video_id for one in made.tally.pending] == ["broken_1"]
    made = run(store, tmp_path, HARMLESS, run_synchronously, Heard())
    assert (made.tally.num_clips, made.num_frames) == (3, OPTIONS.eval_frames)
