"""What the store cannot give is refused before weights are downloaded, which takes minutes."""

from __future__ import annotations

from pathlib import Path

import pytest

from store.store import Store
from tests.clips_on_disk import Commands
from tests.stores import SIZE, fill_store, make_store

OPENAI = ("--model", "ViT-B-16-quickgelu", "--pretrained", "openai")
FINETUNE = ("finetune", "STORE", "checkpoint", "--preset", "fda-clip", *OPENAI)
ENCODE = ("encode", "STORE", "--features", "mine", *OPENAI)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    made = make_store(tmp_path_factory.mktemp("early") / "store", 4)
    fill_store(made)
    return made


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (FINETUNE, "no split 'train'"),
        ((*FINETUNE, "--train-split", "test", "--val-split", "val", "--choose-on-test"), "no split 'val'"),
        ((*FINETUNE, "--train-split", "test", "--choose-on-test", "--masks", "none"), "no masks 'none'"),
        ((*FINETUNE, "--train-split", "test", "--choose-on-test"), f"are {SIZE} x {SIZE} pixels, ViT-B-16-quickgelu"),
        ((*ENCODE, "--split", "val"), "no split 'val'"),
        ((*ENCODE, "--masks", "none"), "no masks 'none'"),
        (ENCODE, f"the frames of split 'test' are {SIZE} x {SIZE} pixels, ViT-B-16-quickgelu takes 224 x 224"),
        (("weights", *OPENAI, "--alpha-checkpoint", "nowhere.pth"), "cannot read weights from nowhere.pth"),
    ],
    ids=lambda value: " ".join(value[:1] + value[-2:]) if isinstance(value, tuple) else None,
)
def test_nothing_is_downloaded_for_nothing(
    fda: Commands,
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    said: str,
) -> None:
    monkeypatch.setattr(
        "encoders.weights.pretrained.open_clip.download_pretrained", lambda description: pytest.fail("downloaded")
    )
    monkeypatch.chdir(tmp_path)
    ended = fda(*(store.place if one == "STORE" else one for one in arguments))
    assert ended.code == 1
    assert said in ended.error_line
