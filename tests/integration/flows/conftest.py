"""Flows on a real Prefect server: a client of it, and the application database as it is when nothing is configured."""

import gc
from collections.abc import AsyncIterator, Iterator

import pytest
from prefect.client.orchestration import PrefectClient, get_client


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pass that Prefect asks its server for the default result storage with a client that it does not close."""
    for item in items:
        if "tests/integration/flows/" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <(socket|ssl):ResourceWarning"))


@pytest.fixture(autouse=True)
def collect_prefects_sockets() -> Iterator[None]:
    """Collect what Prefect left open while its warning is still ignored, and not in another module's test."""
    yield
    gc.collect()


@pytest.fixture
async def client(prefect_api: str) -> AsyncIterator[PrefectClient]:
    """A client of the private Prefect server."""
    async with get_client() as client:
        yield client
