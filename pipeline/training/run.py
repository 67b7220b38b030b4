"""`fda finetune`, as one function: read the preset, load the model, lock the checkpoint, train, record the run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path

from encoders.config import ModelConfig
from encoders.devices import find_device
from encoders.options import ModelSource, is_whole_model
from encoders.training.processes import Processes, joined_processes
from pipeline.clips.options import AlphaSource
from pipeline.datasets.splitting import MAKE_SPLITS
from pipeline.errors import OptionError, RefusedError
from pipeline.features.model import ReadyModel, check_before_loading, load_ready, size_for
from pipeline.run.events import Event, Listener, Reporter, RunPlanned, ignore_events
from pipeline.run.fields import check_kinds, local_path
from pipeline.run.records import RunClock, recorded_run
from pipeline.training.checkpoint import TrainingHistory, finetune_folder, is_finished, read_history
from pipeline.training.data import training_halves, watched_half
from pipeline.training.drawn import Drawing
from pipeline.training.finetune import checkpoint_identity, train_model
from pipeline.training.options import FinetuneOptions, TrainingRecipe
from pipeline.training.overlap import check_overlap
from pipeline.training.presets import Preset, chosen_preset, clip_differences
from store.clips.mask_sets import mask_attributes
from store.errors import NotInStoreError
from store.json_values import JSON
from store.store import Store


@dataclass(frozen=True, slots=True)
class FinetuneResult:
    """How a run of `finetune` ended."""

    checkpoint: Path
    history: TrainingHistory
    was_finished: bool
    """Whether this very training had ended before, so that there was nothing to do."""
    is_first_process: bool
    """Of several processes that train together, the first writes and reports."""
    seconds: float
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, JSON]:
        """The result as JSON."""
        return {
            "checkpoint": str(self.checkpoint),
            **asdict(self.history),
            "seconds": round(self.seconds, 3),
            "warnings": list(self.warnings),
        }


def finetune(
    store: str | PathLike[str],
    checkpoint: str | PathLike[str],
    options: FinetuneOptions | None = None,
    *,
    listener: Listener = ignore_events,
) -> FinetuneResult:
    """Train Alpha-CLIP on the clips of a store, and keep the best weights in a local folder.

    Killed and called again, it continues from the last state it saved, and on the same machine ends with the same
    weights. Started by `torchrun`, the processes train one model together.

    Args:
        store: A folder, or `s3://bucket/prefix`.
        checkpoint: A local folder.
        options: The preset, and what differs from it.
        listener: Hears of every step and evaluation.

    Raises:
        OptionError: Training would choose on test videos unasked, or `checkpoint` is no local folder.
        InputError: There is no such preset, or it is wrong.
        NotInStoreError: There is no such split or mask set.
        ShardIncompleteError: Frames or masks are not complete.
        CheckpointMismatchError: The folder holds something else, or was trained otherwise.
        CheckpointBusyError: Another run is writing it.
        UnconfirmedError: `overwrite` would remove weights or a state of training, and `yes` is not set.
        WeightsError: The weights to begin with are missing, damaged, or not this model's.
        DivergedError: The loss is not finite, or has risen and stays high.
    """
    options, folder = options or FinetuneOptions(), local_path(checkpoint)
    check_kinds(options=(options, FinetuneOptions))
    clock, report = RunClock(), Reporter(listener)
    preset = chosen_preset(options)
    recipe = _recipe(preset, options)
    opened = Store.open(store)
    _require_split(opened, recipe.train_split)  # before weights are downloaded
    # What somebody has named must be there. The default `val` may be absent: videos are then held out.
    named = [split for split in (options.val_split or preset.val_split, options.watch_split) if split is not None]
    for split in named:
        _require_split(opened, split)
    if options.overwrite:  # likewise; what counts is asked again, under the lock
        finetune_folder(folder).confirm_removal(yes=options.yes)
    source = model_source(preset, options)
    used = [recipe.train_split, *named]
    if recipe.val_split in opened.manifest.splits and recipe.val_split not in used:
        used.append(recipe.val_split)
    check_before_loading(opened, source, used, recipe.mask_name, resizes=options.resize_frames)
    if options.resize_frames:
        recipe = replace(recipe, size=size_for(opened, used, ModelConfig.from_name_or_file(source.model)))
    # The next three are made again in `train_model`. Here they only refuse, before the weights are loaded.
    training_halves(opened, recipe)  # refuses too few videos
    watched_half(opened, recipe)
    Drawing.of(opened, recipe)  # refuses masks of which nobody knows how they are made
    overlaps = list(check_overlap(opened, recipe, choose_on_test=options.choose_on_test))
    # From here on each process must do as many `collect`s as the others: one that raises alone would leave them
    # waiting.
    with joined_processes(find_device(options.device)) as processes:
        for overlap in overlaps:
            report.warn(overlap)
        quiet = Reporter(ignore_events)
        ready = load_ready(source, options.device, report if processes.is_first else quiet)
        training = _Training(opened, ready, folder, preset, recipe, options, processes)
        history, was_finished = training.carry_out(clock, report)
        return FinetuneResult(
            checkpoint=folder,
            history=history,
            was_finished=was_finished,
            is_first_process=processes.is_first,
            seconds=clock.seconds,
            warnings=report.warnings,
        )


def _require_split(store: Store, split: str) -> None:
    try:
        store.layout(split)
    except NotInStoreError as error:
        raise NotInStoreError(f"{error}. If the data set names no splits, {MAKE_SPLITS}") from error


def _recipe(preset: Preset, options: FinetuneOptions) -> TrainingRecipe:
    recipe = TrainingRecipe(
        train=preset.train,
        batches=preset.batches,
        train_split=options.train_split,
        val_split=options.val_split or preset.val_split or "val",
        hold_out_share=options.hold_out_share,
        mask_name=options.mask_name or "default",
        alpha=options.alpha or preset.alpha,
        seed=options.seed,
        watch_split=options.watch_split,
    )
    if recipe.chosen_on_test and not options.choose_on_test:
        asked = "" if options.val_split or not preset.val_split else f" (of preset {options.preset})"
        raise OptionError(
            f"--train-split {recipe.train_split} and --val-split {recipe.val_split}{asked} would train, or choose the "
            "weights, on the videos that are scored, which biases the scores upwards: add --choose-on-test to do it "
            "anyway"
        )
    return recipe


def model_source(preset: Preset, options: FinetuneOptions) -> ModelSource:
    """What a training begins with: the preset's model and weights, but for what the options name."""
    model = options.model or preset.model
    # Another architecture with the preset's weights is refused when they are loaded; a whole model brings its own.
    has_its_own = options.model is not None and is_whole_model(options.model)
    return ModelSource(
        model=model,
        pretrained=options.pretrained or ("" if has_its_own else preset.pretrained),
        alpha_checkpoint=options.alpha_checkpoint,
        seed=options.seed,
        activation=options.activation,
    )


@dataclass(frozen=True, slots=True)
class _Training:
    """What is to be trained, and by which processes."""

    store: Store
    ready: ReadyModel
    folder: Path
    preset: Preset
    recipe: TrainingRecipe
    options: FinetuneOptions
    processes: Processes

    def carry_out(self, clock: RunClock, report: Reporter) -> tuple[TrainingHistory, bool]:
        """Train, unless this very training has ended before; also returns whether it had."""
        processes = self.processes
        # Before training, which changes the weights in place.
        identity = checkpoint_identity(self.store, self.ready.loaded, self.recipe, processes)
        with ExitStack() as stack:
            with _in_step(processes):
                was_finished = processes.is_first and self._prepare(stack, identity, report)
            was_finished = processes.collect(was_finished)[0]  # only the first has looked
            if was_finished:
                if processes.is_first:
                    report.say(f"nothing to do: {self.folder} was trained to the end with these inputs")
                return read_history(self.folder), True
            if not processes.is_first:
                return self._train(ignore_events), False
            asked_for = {**identity, **_given(self.options)}
            record = stack.enter_context(recorded_run(self.store.folder, "finetune", clock, asked_for))
            num_steps = 0

            def hear(event: Event) -> None:
                nonlocal num_steps
                if isinstance(event, RunPlanned):
                    num_steps = event.num_total - event.num_complete
                report.hear(event)

            history = self._train(hear)
            # The history has the evaluations of all runs of this training; this record has the seconds of one.
            record.result = {"checkpoint": str(self.folder), "num_steps_done": num_steps, **asdict(history)}
            return history, False

    def _train(self, listener: Listener) -> TrainingHistory:
        return train_model(
            self.store,
            self.ready.loaded,
            self.folder,
            self.recipe,
            listener,
            processes=self.processes,
            save_seconds=self.options.save_seconds,
        )

    def _prepare(self, stack: ExitStack, identity: Mapping[str, JSON], report: Reporter) -> bool:
        """Lock the folder for as long as the stack is open; returns whether this very training has ended there."""
        self._warn_of_differences(report)
        checkpoint = finetune_folder(self.folder)
        stack.enter_context(checkpoint.locked())
        if self.options.overwrite:
            files = checkpoint.confirm_removal(yes=self.options.yes)
            if files:
                named = ", ".join(str(path.relative_to(self.folder)) for path in files)
                report.say(f"--overwrite removes {named} from {self.folder}")
            checkpoint.remove()
        if is_finished(self.folder, identity):
            return True
        if moved_from := checkpoint.moved(identity):
            report.warn(
                "this training began on another machine or with other software, and may end with other weights: "
                f"{moved_from}"
            )
        return False

    def _warn_of_differences(self, report: Reporter) -> None:
        """Warn if the store's clips are not those that the preset is for."""
        masks = mask_attributes(self.store, self.recipe.train_split, self.recipe.mask_name)["options"]
        made_with: list[Mapping[str, object]] = [self.store.manifest.options]
        if self.recipe.alpha is AlphaSource.MASKS and isinstance(masks, Mapping):
            made_with.append(masks)
        for difference in clip_differences(self.preset, made_with):
            report.warn(difference)


def _given(options: FinetuneOptions) -> dict[str, JSON]:
    """What the user gave and the inputs of the training do not tell, for its run record."""
    checkpoint = options.alpha_checkpoint
    return {
        "preset": options.preset,
        "settings": {key: str(value) for key, value in options.settings.items()},
        "val_split": options.val_split,
        "source": {
            "model": options.model,
            "pretrained": options.pretrained,
            "alpha_checkpoint": None if checkpoint is None else str(checkpoint),
            "activation": options.activation,
        },
    }


@contextmanager
def _in_step(processes: Processes) -> Iterator[None]:
    """Do what the first process may refuse to do: if it does, the others end as well, and leave the reason to it."""
    error: Exception | None = None
    try:
        yield
    except Exception as raised:
        error = raised
    is_refused = processes.collect(error is not None)
    if error is not None:
        raise error
    if any(is_refused):
        raise RefusedError("another process refused to train: its message says why")
