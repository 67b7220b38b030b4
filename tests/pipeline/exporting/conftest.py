import pytest

from store.store import Store
from tests.pipeline.exporting.made import make


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Which no test changes."""
    return make(tmp_path_factory.mktemp("exporting") / "store")
