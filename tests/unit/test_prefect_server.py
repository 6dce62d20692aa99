"""Why a Prefect server on SQLite is started with a thread that collects garbage."""

import asyncio
import gc
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from demo import prefect_server

SQLITE_SECONDS = 2.0
LIMIT = 20.0


@pytest.fixture
def garbage_stays() -> Iterator[None]:
    """Collect nothing by itself meanwhile."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def write_twice(path: Path, collect: Callable[[], None]) -> None:
    """Let a second connection wait for the first one's transaction, with garbage of the second to collect."""
    async with (
        aiosqlite.connect(path, timeout=SQLITE_SECONDS, isolation_level=None) as first,
        aiosqlite.connect(path, timeout=SQLITE_SECONDS, isolation_level=None) as second,
    ):
        # A cursor with a row left, in a cycle of references that only the collector takes apart.
        left: list[Any] = [await second.execute("SELECT 1 UNION ALL SELECT 2")]
        left.append(left)
        del left
        # The connection's thread keeps what it returned last.
        await second.commit()
        await first.execute("BEGIN IMMEDIATE")
        waiting = asyncio.create_task(_begin(second))
        assert not (await asyncio.wait({waiting}, timeout=SQLITE_SECONDS / 4))[0], "the lock is held"
        collect()
        await first.execute("COMMIT")
        await waiting


async def _begin(connection: aiosqlite.Connection) -> None:
    await connection.execute("BEGIN IMMEDIATE")


def test_garbage_collected_by_the_event_loops_thread_locks_the_database(tmp_path: Path, garbage_stays: None) -> None:
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        asyncio.run(write_twice(tmp_path / "numbers.sqlite3", prefect_server.collect))


def test_garbage_collected_by_a_thread_of_its_own_holds_up_nobody(tmp_path: Path, garbage_stays: None) -> None:
    collector = threading.Thread(target=prefect_server.collect)
    asyncio.run(write_twice(tmp_path / "numbers.sqlite3", collector.start))
    collector.join(LIMIT)
    assert not collector.is_alive()
