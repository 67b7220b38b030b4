"""Files of weights are recognised by their sha256."""

import re
from pathlib import Path

import pytest

from encoders.options import Activation
from encoders.weights import published
from encoders.weights.files import sha256_of
from encoders.weights.loading import load_model
from encoders.weights.published import published_files, published_name, unlike_its_name
from tests.clips_on_disk import Commands
from tests.encoders_tiny import PLAIN, saved, write_config
from tests.paths import ROOT


def test_the_table_of_the_docs_is_what_open_clip_has() -> None:
    rows = re.findall(
        r"^\| `([\w-]+\.pt)` \| `([0-9a-f]{64})` \|$", (ROOT / "docs/models.md").read_text(), re.MULTILINE
    )
    assert len(rows) == 4
    assert [published_files().get(sha256) for _, sha256 in rows] == [name for name, _ in rows]


@pytest.mark.parametrize("digits", [8, 64])
def test_a_published_file_is_known_by_its_digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, digits: int) -> None:
    path = saved(tmp_path / "renamed.pt", PLAIN)
    sha256 = sha256_of(path)
    monkeypatch.setattr(published, "published_files", lambda: {sha256[:digits]: "ViT-B-32.pt"})
    loaded = load_model(write_config(tmp_path), str(path), activation=Activation("quickgelu"))
    assert loaded.report.published == ("ViT-B-32.pt",)
    assert loaded.report.warnings() == []
    assert published_name(f"{'0' * 8}{sha256[8:]}") is None


def test_a_file_that_only_has_the_name_gets_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path, fda = saved(tmp_path / "ViT-B-32.pt", PLAIN), Commands(monkeypatch, capfd)
    ended = fda("weights", "--model", write_config(tmp_path), "--pretrained", path, "--activation", "quickgelu")
    assert ended.code == 0
    assert "(not known)" in ended.out
    assert f"its sha256 begins with {sha256_of(path)[:8]}, that of the published one with 40d36571" in ended.err


def test_a_tag_and_other_names_are_no_published_file() -> None:
    assert unlike_its_name("openai", "0" * 64) is None
    assert unlike_its_name("weights/mine.pt", "0" * 64) is None
    assert (
        unlike_its_name("weights/ViT-B-32.pt", "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af")
        is None
    )
