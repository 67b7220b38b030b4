from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

import fda
from tests.serving import ServedStore, make_served_store

HOST = "http://127.0.0.1:8765"


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> ServedStore:
    """A store to be read: no test changes it."""
    return make_served_store(tmp_path_factory.mktemp("served"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of videos that were made playable."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def client(served: ServedStore, cache: Path) -> Iterator[TestClient]:
    """The pages of the store, as a browser on this machine asks for them."""
    options = fda.ServeOptions(conversion=fda.ConversionOptions(folder=cache))
    with TestClient(fda.create_app(served.place, options), base_url=HOST) as client:
        yield client
