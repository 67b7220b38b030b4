"""The command lines that lead to a store again, from its run records; and what these do not tell.

A line has the options that differ from the defaults. Where records are missing, a comment has what else is known.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from encoders.temporal.options import TemporalOptions
from pipeline.command_lines.flags import flags_of, frame_flags, mask_flags
from pipeline.features.remarks import resized_to
from pipeline.frames.options import PreprocessOptions
from pipeline.reporting.records import worked_on
from pipeline.run.partition import WHOLE
from pipeline.run.records import PastRun
from pipeline.run.words import listed
from pipeline.training.options import is_test_split
from store.json_values import JSON, int_at, list_at, mapping_at, text_at

MOST_LINES = 40
_WIDTH = 84
"""Letters of a line of a command on the page."""


@dataclass(frozen=True, slots=True)
class Step:
    """One line of the list."""

    text: str
    is_comment: bool = False
    words: tuple[str, ...] = ()
    """Of a command, as a program gets them."""

    @classmethod
    def of(cls, *words: str) -> Step:
        """A command line, quoted as a shell wants it."""
        return cls(shlex.join(words), words=words)

    @property
    def shown(self) -> str:
        r"""The line for a page: a long one goes on in the next, each flag beside its value.

        >>> print(Step.of("fda", "masks", "store" * 9, "--masks", "b" * 30, "--threshold", "7").shown)
        fda masks storestorestorestorestorestorestorestorestore \
            --masks bbbbbbbbbbbbbbbbbbbbbbbbbbbbbb --threshold 7
        """
        parts: list[str] = []
        for word in map(shlex.quote, self.words):
            if parts and parts[-1].startswith("--") and " " not in parts[-1] and not word.startswith("--"):
                parts[-1] += f" {word}"
            else:
                parts.append(word)
        lines = [""]
        for part in parts:
            if lines[-1] and len(lines[-1]) + len(part) > _WIDTH:
                lines.append("   ")
            lines[-1] += f" {part}" if lines[-1] else part
        return " \\\n".join(lines) if self.words else self.text

    @classmethod
    def comment(cls, text: str) -> Step:
        """What a person must know; it does nothing in a shell, whatever is in it."""
        return cls("# " + " ".join(text.split()), is_comment=True)


@dataclass(frozen=True, slots=True)
class MadeWith:
    """What a store has, with the attributes that say what made it."""

    place: str
    frames: Mapping[str, JSON]
    """Options of the manifest."""
    masks: Mapping[str, Mapping[str, JSON]]
    """Mask set -> attributes."""
    features: Mapping[str, Mapping[str, JSON]]
    """Feature set -> attributes, of any of its splits."""
    splits: tuple[str, ...] = ()
    """All of the store: what was made of all of them needs no --split."""


@dataclass(frozen=True, slots=True)
class Steps:
    """How to get a store again."""

    lines: tuple[Step, ...]
    unknown: tuple[str, ...]
    """What the records do not tell, a sentence each."""


def steps_to(made: MadeWith, runs: Sequence[PastRun]) -> Steps:
    """Find the command lines, in an order in which they can be run."""
    ran = [run for run in runs if run.is_done or run.is_interrupted]
    unknown: list[str] = []
    frames = list(_frames(made, [run for run in ran if run.command == "preprocess"], unknown))
    by_preprocess = {text_at(run.options, "mask_name") for run in ran if run.command == "preprocess"}
    masks = [
        step
        for name, attributes in made.masks.items()
        for step in _masks(
            made.place, name, attributes, [run for run in ran if run.command == "masks" and worked_on(run) == name]
        )
        # `fda preprocess` makes a mask set as well, and its line has the options.
        if not (step.is_comment and name in by_preprocess)
    ]
    encoded = {name: _of_set(name, attributes, ran) for name, attributes in made.features.items()}
    # Of feature sets, and not of all trainings: a checkpoint that nothing was encoded with leads to nothing here.
    trained = list(_checkpoints(made.place, [run for some in encoded.values() for run in some], ran, unknown))
    features = [step for name, some in encoded.items() for step in _features(made, name, some)]
    features.sort(key=lambda step: step.words[1:2] == ("pool",))  # after what they are made from
    # Each once: a command that was resumed has a record for each time.
    lines = list(dict.fromkeys((*frames, *masks, *trained, *features)))
    if len(lines) > MOST_LINES:
        unknown.append(f"{len(lines) - MOST_LINES:,} more lines are left out here: the run records have them")
    if lost := [name for name, some in encoded.items() if not some]:
        unknown.append(f"no run record says how these feature sets were made: {listed(lost)}")
    return Steps(tuple(lines[:MOST_LINES]), tuple(dict.fromkeys(unknown)))


def _frames(made: MadeWith, runs: Sequence[PastRun], unknown: list[str]) -> Iterator[Step]:
    if not runs:
        unknown.append(
            "no run record says from where the videos were decoded: only the options of the frames are known"
        )
        yield Step.comment(shlex.join(["fda", "preprocess", "SOURCE", made.place, *frame_flags(made.frames)]))
    for run in runs:
        options = run.options
        source, layout = text_at(options, "source") or "SOURCE", text_at(options, "dataset")
        flags = flags_of(mapping_at(options, "reading"), {})
        if not mapping_at(options, "reading"):
            unknown.append(
                "this version of the run records does not say whether `fda preprocess` was given --videos, --id-key, "
                "--path-key, --caption-key, --protocol-split, --paragraphs or --extract-to"
            )
        if shares := mapping_at(options, "split_by_hash"):
            flags += ["--split-by-hash", ",".join(f"{split}={share}" for split, share in shares.items())]
        name = text_at(options, "mask_name") or PreprocessOptions().mask_name
        flags += frame_flags(options) + flags_of({"mask_name": name}, {"mask_name": PreprocessOptions().mask_name})
        flags += mask_flags(mapping_at(options, "masks"))
        dataset = ["--dataset", layout] if layout else []
        if text_at(options, "partition") not in (None, str(WHOLE)):
            unknown.append(
                "frames were made in parts (--partition): the line makes them in one run, with the same bytes"
            )
        yield Step.of("fda", "preprocess", _argument(source), made.place, *dataset, *flags)


def _masks(place: str, name: str, attributes: Mapping[str, JSON], runs: Sequence[PastRun]) -> Iterator[Step]:
    flags = mask_flags(runs[-1].options if runs else mapping_at(attributes, "options"))
    step = Step.of("fda", "masks", place, "--masks", name, *flags)
    yield step if runs else Step.comment(f"{step.text}  # from its options: no run record has it")


def _of_set(name: str, attributes: Mapping[str, JSON], runs: Sequence[PastRun]) -> list[PastRun]:
    """The runs that made a feature set: none of a set of that name that was removed since."""
    sha256 = text_at(mapping_at(attributes, "model"), "weights_sha256")
    imported, pooled = attributes.get("imported"), text_at(mapping_at(attributes, "pooled"), "weights_sha256")
    if pooled is not None:  # the rest of the attributes are those of the features that it was made from
        return [
            run
            for run in runs
            if run.command == "pool" and worked_on(run) == name and text_at(run.result, "weights_sha256") == pooled
        ]
    return [
        run
        for run in runs
        if worked_on(run) == name
        and (
            (run.command == "encode" and text_at(mapping_at(run.options, "model"), "weights_sha256") == sha256)
            or (run.command == "import-features" and run.options.get("imported") == imported)
        )
    ]


def _features(made: MadeWith, name: str, runs: Sequence[PastRun]) -> Iterator[Step]:
    for run in runs:
        of_run = [str(split) for split in list_at(run.options, "splits")]
        splits = [] if tuple(of_run) == made.splits else [word for split in of_run for word in ("--split", split)]
        if run.command == "pool":
            yield _pooled(made.place, name, run, splits)
            continue
        if run.command == "import-features":
            sources = mapping_at(run.options, "sources")
            pooling = text_at(run.options, "pooling")
            flags = flags_of(
                {
                    "pooling": pooling if pooling != "as imported" else None,
                    **_dtypes(run.options),
                },
                {"pooling": "mean"},
            )
            files = [
                word
                for kind in ("text", "video", "frame")
                if (file := text_at(sources, kind))
                for word in (f"--{kind}", file)
            ]
            yield Step.of("fda", "import-features", made.place, "--features", name, *files, *splits, *flags)
            continue
        options = run.options
        alpha = options.get("alpha")
        drawn = alpha if isinstance(alpha, Mapping) else {}
        fields = {
            **_model_fields(mapping_at(options, "source")),
            "mask_name": text_at(mapping_at(options, "masks"), "name"),
            "alpha": text_at(drawn, "source") or alpha,
            **{key: options.get(key) for key in ("pooling", "precision", "max_words", "truncate_dim")},
            "resize_frames": resized_to(options) is not None,
            **_dtypes(options),
            "sensitivity_every": options.get("sensitivity_every") if alpha != "ones" else None,
            "seed": int_at(drawn, "seed") or int_at(mapping_at(options, "source"), "seed"),
        }
        flags = flags_of(fields, {"mask_name": "default", "sensitivity_every": 32, "seed": 0})
        yield Step.of("fda", "encode", made.place, "--features", name, *flags, *splits)


def _dtypes(options: Mapping[str, JSON]) -> dict[str, JSON]:
    """What the features are kept in, where that is not float32."""
    vectors, frames = (text_at(options, key) or "float32" for key in ("store_dtype", "frame_dtype"))
    return {
        "store_dtype": None if vectors == "float32" else vectors,
        "frame_dtype": None if frames == vectors else frames,
    }


def _pooled(place: str, name: str, run: PastRun, splits: Sequence[str]) -> Step:
    """`fda pool` of a run, with what differs from the defaults."""
    recipe, defaults = mapping_at(run.options, "options"), asdict(TemporalOptions())
    names = ("layers", "epochs", "patience", "batch_size", "lr")
    others: dict[str, JSON] = {"train_split": "train", "val_split": "val", "hold_out_share": 0.1, "captions": "all"}
    known = {**{key: defaults[key] for key in names}, **others, "seed": 0}
    flags = flags_of({key: recipe.get(key) for key in known}, known)
    source, checkpoint = (text_at(run.options, key) or key.upper() for key in ("source", "checkpoint"))
    return Step.of("fda", "pool", place, checkpoint, "--features", source, "--to", name, *splits, *flags)


def _model_fields(source: Mapping[str, JSON]) -> dict[str, JSON]:
    """A checkpoint alone, or a model with its weights."""
    if text_at(source, "checkpoint"):
        return {"checkpoint": source["checkpoint"]}
    return {key: source.get(key) or None for key in ("model", "pretrained", "alpha_checkpoint", "activation")}


def _checkpoints(place: str, encoded: Sequence[PastRun], runs: Sequence[PastRun], unknown: list[str]) -> Iterator[Step]:
    """The trainings whose checkpoints made a feature set."""
    wanted = [text_at(mapping_at(run.options, "source"), "checkpoint") for run in encoded]
    trainings = {text_at(run.result, "checkpoint"): run for run in runs if run.command == "finetune"}
    # A folder may have been moved, or be named in another way: relative here, absolute there.
    by_name = {(name or "").rstrip("/").rpartition("/")[2]: run for name, run in trainings.items()}
    for checkpoint in dict.fromkeys(name for name in wanted if name):
        run = trainings.get(checkpoint) or by_name.get(checkpoint.rstrip("/").rpartition("/")[2])
        if run is None:
            unknown.append(f"no run record of this store says how the checkpoint {checkpoint} was trained")
            continue
        recipe, source = mapping_at(run.options, "options"), mapping_at(run.options, "source")
        if text_at(run.options, "preset") is None:
            unknown.append(
                "this version of the run records does not say by which --preset, --set, --model and --pretrained of "
                f"`fda finetune` the checkpoint {checkpoint} was trained"
            )
        settings = mapping_at(run.options, "settings")
        flags = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        fields = {
            "preset": text_at(run.options, "preset"),
            **_model_fields(source),
            **{
                key: recipe.get(key)
                for key in ("mask_name", "alpha", "train_split", "val_split", "hold_out_share", "watch_split", "seed")
            },
        }
        if "val_split" in run.options:  # what was asked for: the recipe has the preset's, too
            fields["val_split"] = text_at(run.options, "val_split")
        fields["resize_frames"] = recipe.get("size") is not None
        fields["choose_on_test"] = any(is_test_split(str(recipe.get(key))) for key in ("train_split", "val_split"))
        defaults = {
            "mask_name": "default",
            "train_split": "train",
            "val_split": "val",
            "hold_out_share": 0.1,
            "seed": 0,
        }
        yield Step.of("fda", "finetune", place, checkpoint, *flags_of(fields, defaults), *flags)


def _argument(path: str) -> str:
    """A path that no command takes for an option."""
    return f"./{path}" if path.startswith("-") else path
