"""A work pool with a warm worker for most tests, and pools of their own for those that stop workers."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.integration.workers.system import Pool
from tests.servers import PrefectServer
from tests.servers.process import ServerProcess


@pytest.fixture(scope="session")
def served(
    tmp_path_factory: pytest.TempPathFactory, prefect_server: PrefectServer
) -> Iterator[tuple[Pool, ServerProcess]]:
    """A pool with a worker that only its notices wake, as its polls are two minutes apart; and that worker."""
    pool = Pool(tmp_path_factory.mktemp("workers"), prefect_server, "warm")
    pool.create()
    with pool.worker("shared") as worker:
        yield pool, worker


@pytest.fixture
def pool(served: tuple[Pool, ServerProcess]) -> Pool:
    """The pool with a worker."""
    return served[0]


@pytest.fixture
def new_pool(tmp_path: Path, prefect_server: PrefectServer) -> Callable[..., Pool]:
    """Gives a new pool without a worker."""

    def create(kind: str = "process", limit: int | None = None) -> Pool:
        pool = Pool(tmp_path, prefect_server, f"pool-{uuid4().hex[:8]}")
        pool.create(kind, limit)
        return pool

    return create
