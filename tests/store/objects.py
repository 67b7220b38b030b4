"""A folder in an object store, for tests, and faults of its requests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from store.places.objects import ObjectFolder
from store.places.s3 import close_connection
from tests.s3 import Fault, Server, place_of, use_server

FAULTS = [fault for fault in Fault if fault is not Fault.LATE]


@pytest.fixture
def folder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, server: Server) -> ObjectFolder:
    use_server(monkeypatch, server)
    return ObjectFolder.at(place_of(request))


@pytest.fixture
def reconnected() -> Iterator[None]:
    """For tests that change what a connection is made with."""
    close_connection()
    yield
    close_connection()
