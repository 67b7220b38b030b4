"""How many of some videos may be missing or failed: a count, or a share of them."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.errors import OptionError

_WANTED = "a number of videos such as 5, or a share of them such as 10% or 0.1"


@dataclass(frozen=True, slots=True)
class Limit:
    """A count or a share; exactly one of them.

    A whole number is a count and a fraction is a share, so 1.0 could be either: in a text it is refused. In Python the
    type decides: 1 is one video, 1.0 all of them.
    """

    count: int | None = None
    share: float | None = None
    """In [0, 1]."""

    def __post_init__(self) -> None:
        if (self.count is None) is (self.share is None):
            raise OptionError(f"a limit is either a count or a share, got {self.count} and {self.share}")
        if self.count is not None and self.count < 0:
            raise OptionError(f"a number of videos must not be negative, got {self.count}")
        if self.share is not None and not 0 <= self.share <= 1:  # NaN too
            raise OptionError(f"a share of videos must lie between 0% and 100%, got {100 * self.share:g}%")

    @classmethod
    def of(cls, value: object) -> Limit:
        """The limit that a text, a whole number or a float stands for.

        Raises:
            OptionError: It is no such thing, is negative, or is more than all.

        >>> Limit.of("5"), Limit.of("10%"), Limit.of("0.02")
        (Limit(count=5, share=None), Limit(count=None, share=0.1), Limit(count=None, share=0.02))
        """
        if isinstance(value, Limit):
            return value
        if isinstance(value, str):
            return cls._parse(value.strip())
        if isinstance(value, int) and not isinstance(value, bool):
            return cls(count=value)
        if isinstance(value, float):
            return cls(share=value)
        raise OptionError(f"{value!r} is not {_WANTED}")

    @classmethod
    def _parse(cls, text: str) -> Limit:
        is_whole = text.isascii() and text.removeprefix("-").isdigit()
        try:
            number = int(text) if is_whole else float(text.removesuffix("%"))
        except ValueError as error:
            raise OptionError(f"{text!r} is not {_WANTED}") from error
        if is_whole:
            return cls(count=int(number))
        if text.endswith("%"):
            return cls(share=number / 100)
        if number >= 1:
            raise OptionError(f"{text!r} is not {_WANTED}: write 1 for one video, 100% for all")
        return cls(share=number)

    def __call__(self, total: int) -> float:
        """How many of `total` videos may be missing or failed.

        >>> Limit.of("10%")(50), Limit.of("5")(50), Limit.of("0.02")(50)
        (5.0, 5, 1.0)
        """
        return total * self.share if self.share is not None else self.count or 0

    def __str__(self) -> str:
        return f"{self.count}" if self.share is None else f"{100 * self.share:.6g}%"


NONE, ALL = Limit(count=0), Limit(share=1.0)
