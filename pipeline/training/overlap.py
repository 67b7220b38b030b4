"""Videos that are in several splits, under whatever ids: what is trained or chosen on must not be what is scored."""

from __future__ import annotations

from collections.abc import Iterator

from encoders.weights.record import KnownVideos, TrainingRecord
from pipeline.errors import OptionError
from pipeline.run.sharing import sharing
from pipeline.training.data import Half
from pipeline.training.options import TrainingRecipe, is_test_split
from store.contents import content_digests, shared_videos
from store.store import Store


def check_overlap(store: Store, recipe: TrainingRecipe, *, choose_on_test: bool) -> Iterator[str]:
    """Find videos that the splits of a training share with each other or with a test split.

    Args:
        store: What is trained on.
        recipe: Which splits.
        choose_on_test: Whether the weights may be chosen on test videos.

    Yields:
        A sentence for each two splits that share videos.

    Raises:
        OptionError: The split that chooses the weights has videos of a test split, and `choose_on_test` is False.
    """
    used = {recipe.train_split, recipe.val_split}
    for shared in shared_videos(store):
        # A test split that is trained or chosen on by name was allowed already.
        tests = [split for split in shared.splits if is_test_split(split) and split not in used]
        if recipe.val_split in shared.splits and tests and not choose_on_test:
            raise OptionError(
                f"{sharing(shared)}: the weights would be chosen on videos that are scored, which biases the "
                "scores upwards. Take them out of one of the splits, or add --choose-on-test to do it anyway"
            )
        if used & set(shared.splits) and (tests or used >= set(shared.splits)):
            yield f"{sharing(shared)}: scores on these are not fair"


def training_record(store: Store, recipe: TrainingRecipe, train: Half, val: Half) -> TrainingRecord:
    """What a training adds to the record of its weights."""
    trained = content_digests(store, recipe.train_split)
    is_split = recipe.val_split in store.manifest.splits
    of_val = content_digests(store, recipe.val_split) if is_split else trained
    used = [
        {digests[video_id] for video_id in map(half.clips.video_ids.__getitem__, half.captions) if video_id in digests}
        for half, digests in ((train, trained), (val, of_val))
    ]
    tests = [split for split in store.manifest.splits if is_test_split(split)]
    on_test = any(used[1] & set(content_digests(store, split).values()) for split in tests)
    return TrainingRecord(KnownVideos.of(used[0]), KnownVideos.of(used[1]), recipe.chosen_on_test or on_test)
