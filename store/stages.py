"""The stages of a store: their names, their shards, and the command that makes each."""

from __future__ import annotations

from store.schema import Shard

FRAMES_STAGE = "frames"


def masks_stage(name: str) -> str:
    """The stage that makes the mask set `name`."""
    return f"masks/{name}"


def is_masks_stage(stage: str) -> bool:
    """Whether a stage makes a mask set."""
    return stage.startswith(masks_stage(""))


def command_of(stage: str) -> str:
    """The command that makes a stage, for the end of a sentence.

    >>> command_of("features/mine/text")
    "the command that made features 'mine' (`fda encode`, `fda import-features` or `fda pool`)"
    """
    kind, _, rest = stage.partition("/")
    if kind == "masks":
        made_otherwise = "or the `fda preprocess` or `fda import-masks` that made them,"
        return f"`fda masks --masks {rest}` with its options, {made_otherwise}"
    if kind == "features":
        return (
            f"the command that made features {rest.split('/')[0]!r} (`fda encode`, `fda import-features` or `fda pool`)"
        )
    return "its `fda preprocess`"


def has_outcomes(stage: str) -> bool:
    """Whether the rows of a stage are videos, so that its records say how each ended.

    >>> has_outcomes("frames"), has_outcomes("features/mine/text")
    (True, False)
    """
    return not (stage.startswith("features/") and stage.endswith("/text"))


def stage_of_record(name: str) -> str | None:
    """The stage whose shard has the record `name`; None if it is the name of no record.

    >>> stage_of_record("commits/test/masks/default/00003.parquet")
    'masks/default'
    """
    parts = name.split("/")
    return "/".join(parts[2:-1]) if len(parts) > 3 and parts[0] == "commits" else None


def captions_input(shard: Shard) -> str:
    """The name of the captions of a shard among the inputs of a record.

    >>> captions_input(Shard("test", 1, 1024, 1500))
    'captions[test:1024:1500]'
    """
    return f"captions[{shard.split}:{shard.start}:{shard.stop}]"


def features_stage(name: str, part: str) -> str:
    """The stage that makes the `video` or the `text` part of a feature set."""
    return f"features/{name}/{part}"
