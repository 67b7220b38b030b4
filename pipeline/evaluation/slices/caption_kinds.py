"""Whether a caption describes motion: a rule on single words, which can be read, checked by eye and changed.

The first of these that applies, with the word lists of `caption_words.toml`:

1. `dynamic`: it has a verb of motion ("a man is running");
2. `static`: it has a verb of rest ("a woman sits on a bench and talks");
3. `attributes`: it has a word of looks ("a man in red"), and no other known verb nor word in -ing;
4. `other`: none of these.

The rule knows no grammar except two habits of nouns: a word directly after an article, a preposition or a number is no
verb unless it ends in -ing ("a walk", "on the waves"), and a few words in -ing are verbs only after a form of "to be"
("is painting"). docs/evaluation.md has how often the rule is wrong.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Self

from pipeline.errors import InputError

_WORD = re.compile(r"[^\W\d_]+")
_BE = frozenset({"am", "are", "be", "been", "being", "is", "was", "were", "s", "re"})
"""`s` and `re` are in it for "he's" and "they're", which MSVD also writes without the apostrophe."""


class CaptionKind(StrEnum):
    """What a caption describes."""

    DYNAMIC = "dynamic"
    STATIC = "static"
    ATTRIBUTES = "attributes"
    OTHER = "other"


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text: runs of letters, in lower case.

    >>> words_of("The man's RED car, no. 5")
    ('the', 'man', 's', 'red', 'car', 'no')
    """
    return tuple(_WORD.findall(text.lower()))


@lru_cache(maxsize=2**16)
def base_forms(word: str) -> frozenset[str]:
    """The word, and all words that it may be the -s, -ed or -ing form of.

    Some of these are no words. That does no harm, because they are only looked up in the lists.

    >>> sorted(base_forms("running")), sorted(base_forms("flies")), sorted(base_forms("lying"))
    (['run', 'runn', 'runne', 'running'], ['fli', 'flie', 'flies', 'fly'], ['lie', 'ly', 'lye', 'lying'])
    """
    forms = {word}
    if word.endswith("s") and not word.endswith("ss"):
        forms.add(word[:-1])
        if word.endswith("es"):
            forms.add(word[:-2])
        if word.endswith("ies"):
            forms.add(word[:-3] + "y")
    for ending in ("ing", "ed"):
        stem = word.removesuffix(ending)
        if stem == word or len(stem) < 2:
            continue
        forms |= {stem, stem + "e"}
        if stem[-1] == stem[-2]:
            forms.add(stem[:-1])
        if ending == "ing" and stem.endswith("y"):
            forms.add(stem[:-1] + "ie")
        if ending == "ed" and stem.endswith("i"):
            forms.add(stem[:-1] + "y")
    return frozenset(forms)


@dataclass(frozen=True, slots=True)
class CaptionWords:
    """The word lists of the rule: see `caption_words.toml`, which explains each of them."""

    motion: frozenset[str]
    state: frozenset[str]
    neutral: frozenset[str]
    attributes: frozenset[str]
    nouns_unless_after_be: frozenset[str]
    before_nouns: frozenset[str]
    digest: str
    """SHA-256 of the file."""

    @classmethod
    def read(cls, path: Path | None = None) -> Self:
        """Read the lists from a file in the format of `caption_words.toml`; by default, from that file.

        Raises:
            ValueError: It is not such a file.
        """
        # The packages are installed as plain folders, so a resource is a path.
        file = path or Path(str(resources.files("pipeline.evaluation.slices"))) / "caption_words.toml"
        content = file.read_bytes()
        names = ("motion", "state", "neutral", "attributes", "nouns_unless_after_be", "before_nouns")
        try:
            table: dict[str, object] = tomllib.loads(content.decode())
        except ValueError as error:
            raise InputError(f"{file} is not a TOML file: {error}") from error
        if sorted(table) != sorted(names):
            raise InputError(f"{file} must have the lists {', '.join(names)}, and has {', '.join(table) or 'none'}")
        lists = {name: _word_list(table[name], f"{name} of {file}") for name in names}
        return cls(**lists, digest=hashlib.sha256(content).hexdigest())

    def kind_of(self, text: str) -> CaptionKind:
        """The kind of a caption.

        >>> lists = CaptionWords.read()
        >>> [str(lists.kind_of(text)) for text in ("a man runs", "a man sits", "a man in red", "a man after a run")]
        ['dynamic', 'static', 'attributes', 'other']
        """
        words = words_of(text)
        forms = [base_forms(word) for word in words]
        may_be_verb = [
            one for before, word, one in zip(("", *words), words, forms, strict=False) if self._is_verb(before, word)
        ]
        if any(one & self.motion for one in may_be_verb):
            return CaptionKind.DYNAMIC
        if any(one & self.state for one in may_be_verb):
            return CaptionKind.STATIC
        looks = [bool(one & self.attributes) for one in forms]
        acts = any(one & self.neutral for one in may_be_verb) or any(
            word.endswith("ing") and word not in self.nouns_unless_after_be and not look
            for word, look in zip(words, looks, strict=True)
        )
        return CaptionKind.ATTRIBUTES if any(looks) and not acts else CaptionKind.OTHER

    def _is_verb(self, before: str, word: str) -> bool:
        """Whether a word may be a verb, judged by the word before it."""
        if word in self.nouns_unless_after_be:
            return before in _BE
        return word.endswith("ing") or before not in self.before_nouns


def _word_list(value: object, where: str) -> frozenset[str]:
    if not isinstance(value, list) or not all(isinstance(word, str) and words_of(word) == (word,) for word in value):
        raise InputError(f"{where} must be a list of single words in lower case, got {value!r:.200}")
    return frozenset(value)
