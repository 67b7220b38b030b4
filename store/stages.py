"""The stages of a store: their names, their shards, and the command that makes each."""

from __future__ import annotations

from store.schema import Shard

FRAMES_STAGE = "frames"


def masks_stage(name: str) -> str:
    """The stage that makes the mask set `name`."""
    return f"masks/{name}"


def command_of(stage: str) -> str:
    """The command that makes a stage, for the end of a sentence.

    >>> command_of("features/mine/text")
    'its `fda encode --features mine`'
    """
    kind, _, rest = stage.partition("/")
    if kind == "masks":
        return f"`fda masks --masks {rest}` with its options, or `fda preprocess` where it made them,"
    return f"its `fda encode --features {rest.split('/')[0]}`" if kind == "features" else "its `fda preprocess`"


def captions_input(shard: Shard) -> str:
    """The name of the captions of a shard among the inputs of a record.

    >>> captions_input(Shard("test", 1, 1024, 1500))
    'captions[test:1024:1500]'
    """
    return f"captions[{shard.split}:{shard.start}:{shard.stop}]"


def features_stage(name: str, part: str) -> str:
    """The stage that makes the `video` or the `text` part of a feature set."""
    return f"features/{name}/{part}"
