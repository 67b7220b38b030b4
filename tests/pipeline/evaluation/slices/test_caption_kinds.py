"""Which captions speak of motion: the rule on words, case by case."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.evaluation.slices import caption_kinds
from pipeline.evaluation.slices.caption_kinds import CaptionKind, CaptionWords, base_forms, words_of

WORDS = CaptionWords.read()
FILE = Path(caption_kinds.__file__).with_name("caption_words.toml")

CASES = {
    CaptionKind.DYNAMIC: (
        "a man is running",
        "a man runs",
        "a man ran away",
        "a woman chopped an onion",
        "dogs are playing",
        "The horse TROTS.",
        "a girl is sitting and slicing a tomato",  # motion wins
        "a man is talking while riding a horse",
        "a red star is moving",
        "a man is painting",
        "he's building a wall",
        "a man s painting a wall",  # as MSVD writes it
        "two men boxing",
        "a person flies",
        "someone is tying a knot",
        "a running man",
    ),
    CaptionKind.STATIC: (
        "a man is sitting",
        "a woman sits on a bench and talks",
        "a red star is resting",
        "a dog is lying on the floor",
        "a man stood there",
        "a child sang",
        "two women are discussing a book",
        "a man showing a painting",
        "a man holds a box",
        "a man talks about a run",
    ),
    CaptionKind.ATTRIBUTES: (
        "a man in a red shirt",
        "a woman wearing a hat",
        "a small dog",
        "a person dressed as a bear",
        "the building is tall",
        "a woman with long blonde hair in the evening",
    ),
    CaptionKind.OTHER: (
        "",
        "two men",
        "a walk in the park",
        "surf on the waves",
        "an oil painting",
        "a building",
        "a man is using a phone",
        "a red car is shimmering",  # an unknown word in -ing may well be a verb
        "a young man tries",
        "¿qué pasa?",
    ),
}


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in CASES.items() for text in texts])
def test_kinds(kind: CaptionKind, text: str) -> None:
    assert WORDS.kind_of(text) == kind


@pytest.mark.parametrize(
    ("form", "base"),
    [
        ("walks", "walk"),
        ("walked", "walk"),
        ("walking", "walk"),
        ("rides", "ride"),
        ("riding", "ride"),
        ("running", "run"),
        ("stopped", "stop"),
        ("flies", "fly"),
        ("carried", "carry"),
        ("lying", "lie"),
        ("washes", "wash"),
        ("passes", "pass"),
        ("seeing", "see"),
        ("walk", "walk"),
    ],
)
def test_base_forms(form: str, base: str) -> None:
    assert base in base_forms(form)


@pytest.mark.parametrize(("word", "not_base"), [("sing", "s"), ("red", "r"), ("glass", "glas"), ("king", "k")])
def test_what_is_no_form(word: str, not_base: str) -> None:
    assert not_base not in base_forms(word)


@given(st.text())
def test_any_text_has_a_kind(text: str) -> None:
    assert WORDS.kind_of(text) in CaptionKind
    assert WORDS.kind_of(text.upper()) == WORDS.kind_of(text.upper().lower())
    assert all(word == word.lower() and word in text.lower() for word in words_of(text))


def test_no_word_is_in_two_lists_that_contradict() -> None:
    assert not WORDS.motion & WORDS.state
    assert not (WORDS.motion | WORDS.state) & (WORDS.neutral | WORDS.attributes)
    assert not WORDS.neutral & WORDS.attributes


def test_lists_have_no_word_twice() -> None:
    for name, words in tomllib.loads(FILE.read_text(encoding="utf-8")).items():
        assert len(words) == len(set(words)), name


def test_edited_lists_are_read(tmp_path: Path) -> None:
    mine = tmp_path / "mine.toml"
    mine.write_text(
        FILE.read_text(encoding="utf-8").replace('"accelerate",', '"accelerate", "lumber",'), encoding="utf-8"
    )
    assert CaptionWords.read(mine).kind_of("a tortoise lumbers along") == CaptionKind.DYNAMIC
    assert CaptionWords.read(mine).digest != WORDS.digest


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("motion = [", "is not a TOML file"),
        ('motion = ["run"]', "must have the lists motion, state, .*and has motion"),
        (
            re.sub(r"(?s)state = \[.*?\n\]", 'state = ["sit down"]', FILE.read_text(encoding="utf-8")),
            "state of .*must be a list of single words in lower case, got .'sit down'",
        ),
        (re.sub(r"(?s)state = \[.*?\n\]", "state = 3", FILE.read_text(encoding="utf-8")), "state of .*got 3"),
    ],
)
def test_bad_lists_are_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "bad.toml"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        CaptionWords.read(file)
