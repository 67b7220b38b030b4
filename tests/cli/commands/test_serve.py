"""`fda serve` by the command line: where it cannot serve, and what it says."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import urllib.request
from pathlib import Path
from threading import Thread

import pytest
import uvicorn
from starlette.testclient import TestClient

import fda as library
from pipeline.run.events import Message
from pipeline.serving.run import serve
from tests.clips_on_disk import FDA, Commands
from tests.s3 import Server, place_of, use_server
from tests.stores import fill_store, make_store


@pytest.fixture
def store(tmp_path: Path) -> str:
    store = make_store(tmp_path / "store", 2)
    fill_store(store)
    return store.place


def test_a_port_in_use_is_an_error(fda: Commands, store: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = fda("serve", store, "--port", str(port))
    assert (ended.code, ended.out) == (1, "")
    assert ended.error_line == (
        f"fda: error: port {port} of 127.0.0.1 is in use: --port N takes another one, --port 0 any that is free"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["nowhere"], 1, "no store at"),
        ([], 2, "Missing argument 'STORE...'"),
        (["STORE", "--port", "70000"], 2, "--port"),
        (["STORE", "--videos", "nowhere"], 1, "there is no folder nowhere"),
        (["STORE", "--host", "256.0.0.1", "--port", "0"], 1, "cannot listen at 256.0.0.1:0"),
        (["STORE", "--model", "ViT-B-32"], 2, "--model and --pretrained go together"),
    ],
)
def test_what_cannot_be_served_is_said(fda: Commands, store: str, arguments: list[str], code: int, words: str) -> None:
    ended = fda("serve", *(store if word == "STORE" else word for word in arguments))
    assert ended.code == code
    assert words in ended.err


def test_it_says_where_it_is_and_what_it_did(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """From Python; what ends it is told to the server, as there is no Ctrl-C here."""
    heard: list[str] = []
    answered: list[int] = []
    servers: list[uvicorn.Server] = []

    class KeptServer(uvicorn.Server):
        def __init__(self, config: uvicorn.Config) -> None:
            super().__init__(config)
            servers.append(self)

    def ask(port: str) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
            answered.append(answer.status)
        servers[0].should_exit = True

    def hear(event: object) -> None:
        assert isinstance(event, Message)
        heard.append(event.text)
        found = re.search(r"fda serve is at http://\S+:(\d+)/ ", event.text)
        if found is not None:
            Thread(target=ask, args=(found[1],)).start()

    monkeypatch.setattr("uvicorn.Server", KeptServer)
    result = serve(store, library.ServeOptions(host="0.0.0.0", port=0), listener=hear)
    assert answered == [200]
    assert result.num_requests == 1
    assert json.loads(json.dumps(result.to_dict()))["url"] == result.url
    assert result.warnings == (heard[0],)
    assert heard[0].startswith("everybody who reaches http://")


def test_as_a_shell_starts_it_and_ctrl_c_ends_it(store: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [str(FDA), "serve", store, "--port", "0", "--json"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            said = process.stderr.readline()
            found = re.fullmatch(r"fda serve is at (http://127\.0\.0\.1:\d+/) \(Ctrl-C ends it\)\n", said)
            assert found is not None, said
            with urllib.request.urlopen(found[1], timeout=60) as answer:
                assert "2 videos" in answer.read().decode()
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert err == "fda serve has ended: 1 request answered, nothing was changed\n"
    assert (json.loads(out)["url"], json.loads(out)["num_requests"]) == (found[1], 1)


def test_a_store_at_s3(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: Server) -> None:
    """Pages and frames are those of the store; its videos are not on this machine."""
    use_server(monkeypatch, server)
    place = place_of(request)
    fill_store(make_store(place, 2))
    with TestClient(library.create_app(place), base_url="http://127.0.0.1") as client:
        page = client.get("/").text
        assert page.count('class="card"') == 2
        assert place in page
        assert client.get("/frame?id=-vidéo_1&slots=0&side=32").status_code == 200
        problem = client.get("/media/about?id=-vidéo_1").json()["problem"]
        assert "clips/1.mp4 in any folder that a run has recorded" in problem
