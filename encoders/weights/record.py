"""What weights were trained on, through all trainings that led to them. It is part of the file of the weights.

A checkpoint's configuration says it too, but stays behind when somebody takes the weights alone, to encode with them or
to train them further.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from typing import Self

from encoders.tables import JSON, as_table, check_keys

HEADER_KEY = "fda"
"""Of the metadata in our own files of weights. One key for all: safetensors writes several in random order, and equal
weights must give equal bytes."""
MAX_DIGESTS = 2**14
"""Digests that are kept of a set of videos, so that a file of weights does not grow with a data set of millions."""
_DIGEST_BYTES = 6
"""Of each sha256. That two of 10,000 videos and 1,000 others agree by chance is one in 28 million."""


class RecordError(ValueError):
    """A record of training that cannot be read."""


@dataclass(frozen=True, slots=True)
class KnownVideos:
    """A set of videos, known by their contents: by all of their digests, or by the smallest of them.

    The smallest digests of many are a sample that another machine would draw, too: of two sets, it shows what they
    share.

    >>> some = KnownVideos.of(["00" * 32, "11" * 32, "22" * 32])
    >>> some.num_in(["22" * 32, "33" * 32]), (some | KnownVideos.of(["33" * 32])).num_videos
    (1, 4)
    """

    digests: frozenset[bytes] = frozenset()
    """The first bytes of sha256s."""
    num_videos: int = 0
    """At least as many as there are digests. Of a union, it counts videos that both sets may have twice, where not all
    digests are known."""

    @classmethod
    def of(cls, sha256s: Iterable[str]) -> Self:
        """Of digests in hexadecimal."""
        starts = frozenset(bytes.fromhex(sha256)[:_DIGEST_BYTES] for sha256 in sha256s)
        # The smallest, and not any: see above.
        return cls(frozenset(sorted(starts)[:MAX_DIGESTS]), len(starts))

    def __or__(self, other: KnownVideos) -> KnownVideos:
        union = sorted(self.digests | other.digests)
        are_all_known = len(self.digests) == self.num_videos and len(other.digests) == other.num_videos
        num_videos = len(union) if are_all_known else self.num_videos + other.num_videos
        return KnownVideos(frozenset(union[:MAX_DIGESTS]), num_videos)

    @property
    def is_whole(self) -> bool:
        """Whether all digests are known, not a sample."""
        return len(self.digests) == self.num_videos

    def num_in(self, sha256s: Iterable[str]) -> int:
        """How many videos of these are known to be in the set; more may be if it is known by a sample."""
        return len(self.digests & {bytes.fromhex(sha256)[:_DIGEST_BYTES] for sha256 in sha256s})

    def to_dict(self) -> dict[str, JSON]:
        """As JSON: the digests in order, in base64."""
        packed = base64.b64encode(b"".join(sorted(self.digests))).decode()
        return {"num_videos": self.num_videos, "sha256_starts": packed}

    @classmethod
    def from_dict(cls, values: object, where: str) -> Self:
        """Read the result of `to_dict`.

        Raises:
            RecordError: it is something else.
        """
        table = _fields(values, {"num_videos", "sha256_starts"}, where)
        packed, num_videos = table["sha256_starts"], table["num_videos"]
        try:
            content = base64.b64decode(packed if isinstance(packed, str) else "?", validate=True)
        except ValueError as error:
            raise RecordError(f"'sha256_starts' in {where} is not base64: {error}") from error
        starts = range(0, len(content), _DIGEST_BYTES)
        digests = frozenset(content[start : start + _DIGEST_BYTES] for start in starts)
        # A last digest that is cut, or fewer videos than digests: no writer gives this.
        if len(content) % _DIGEST_BYTES or not isinstance(num_videos, int) or num_videos < len(digests):
            raise RecordError(f"{where} has {len(content)} bytes of digests for {num_videos!r} videos")
        return cls(digests, num_videos)


@dataclass(frozen=True, slots=True)
class TrainingRecord:
    """Which videos weights have seen in training. Without any, they are not from `fda finetune`, or from an old one."""

    trained: KnownVideos = field(default_factory=KnownVideos)
    """Videos trained on."""
    chosen: KnownVideos = field(default_factory=KnownVideos)
    """Videos by which weights were chosen, among those of several evaluations."""
    chosen_on_test: bool = False
    """Whether a test split was trained or chosen on."""

    def __bool__(self) -> bool:
        return self != TrainingRecord()

    def __or__(self, other: TrainingRecord) -> TrainingRecord:
        """Of weights to which both have led."""
        return TrainingRecord(
            self.trained | other.trained, self.chosen | other.chosen, self.chosen_on_test or other.chosen_on_test
        )

    def to_dict(self) -> dict[str, JSON]:
        """As JSON."""
        return {
            "trained": self.trained.to_dict(),
            "chosen": self.chosen.to_dict(),
            "chosen_on_test": self.chosen_on_test,
        }

    @classmethod
    def from_dict(cls, values: object, where: str) -> Self:
        """Read the result of `to_dict`.

        Raises:
            RecordError: it is something else.
        """
        table = _fields(values, {"trained", "chosen", "chosen_on_test"}, where)
        if not isinstance(table["chosen_on_test"], bool):
            raise RecordError(f"'chosen_on_test' in {where} must be true or false, got {table['chosen_on_test']!r}")
        trained, chosen = (KnownVideos.from_dict(table[name], f"{name!r} of {where}") for name in ("trained", "chosen"))
        return cls(trained, chosen, table["chosen_on_test"])


@dataclass(frozen=True, slots=True)
class WeightsHeader:
    """What our own files of weights say beside the tensors."""

    quick_gelu: bool
    """Whether the model runs with QuickGELU."""
    training: TrainingRecord = field(default_factory=TrainingRecord)

    def to_metadata(self) -> dict[str, str]:
        """As a header takes it."""
        training = {"training": self.training.to_dict()} if self.training else {}
        return {HEADER_KEY: json.dumps({"quick_gelu": self.quick_gelu, **training}, sort_keys=True)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, object], where: str) -> Self | None:
        """What a file of ours says; None if it is not ours.

        Raises:
            RecordError: it cannot be read.
        """
        text = metadata.get(HEADER_KEY)
        if text is None:
            # Before there was a record of training, the activation was all there was, under its own name.
            alone = metadata.get("quick_gelu")
            return cls(alone == "true") if alone in ("true", "false") else None
        try:
            values = json.loads(text) if isinstance(text, str) else text
        except (ValueError, RecursionError) as error:
            raise RecordError(f"{where} is not JSON: {error}") from error
        table = _fields(values, {"quick_gelu", "training"}, where, required={"quick_gelu"})
        if not isinstance(table["quick_gelu"], bool):
            raise RecordError(f"'quick_gelu' in {where} must be true or false, got {table['quick_gelu']!r}")
        if "training" not in table:
            return cls(table["quick_gelu"])
        return cls(table["quick_gelu"], TrainingRecord.from_dict(table["training"], f"'training' of {where}"))


def _fields(values: object, known: Set[str], where: str, required: Set[str] | None = None) -> Mapping[str, object]:
    try:
        table = as_table(values, where)
        check_keys(table, set(known), set(known if required is None else required), where)
    except ValueError as error:
        raise RecordError(str(error)) from error
    return table
