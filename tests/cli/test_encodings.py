"""What commands print where letters cannot be shown: everything, with these escaped."""

from __future__ import annotations

import io
import json
import sys

import pytest

from cli.main import main
from store.store import Store
from tests.pipeline.evaluation.comparing.test_compare import add, confused
from tests.pipeline.evaluation.test_evaluate import ONE_HOT, cached


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Ids and a folder with an accent, two feature sets."""
    made = cached(tmp_path_factory.mktemp("accents") / "störe", ONE_HOT, confused(0, 1))
    add(made, "yours", ONE_HOT, confused(5))
    return made


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("eval", "STORE", "--features", "mine", "--diagnostics", "--slice", "all"),
        ("eval", "STORE", "--features", "mine", "--diagnostics", "--json"),
        ("compare", "STORE", "mine", "yours", "--resamples", "100", "--permutations", "100"),
        ("compare", "STORE", "mine", "yours", "--resamples", "100", "--permutations", "100", "--json"),
        ("status", "STORE"),
        ("status", "STORE", "--json"),
        ("eval", "STORE", "--features", "なし"),
    ],
    ids=lambda arguments: " ".join(arguments[0::4]),
)
def test_a_command_prints_all_it_has_to_say(
    store: Store, encoding: str, arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    def printed(encoding: str) -> tuple[str, str]:
        streams = [io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "argv", ["fda", *(store.place if one == "STORE" else one for one in arguments)])
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        with pytest.raises(SystemExit) as stop:
            main()
        assert stop.value.code in (None, 0) or "なし" in arguments
        monkeypatch.undo()
        texts = []
        for stream in streams:
            stream.flush()
            stream.seek(0)
            texts.append(stream.read())
        return texts[0], texts[1]

    (out, err), (wanted, wanted_err) = printed(encoding), printed("utf-8")
    assert "Traceback" not in err
    assert len(out.splitlines()) == len(wanted.splitlines())
    assert len(err.splitlines()) == len(wanted_err.splitlines())
    if "--json" in arguments:
        assert json.loads(out) == json.loads(wanted)
