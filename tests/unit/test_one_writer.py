"""Writers of a Prefect server on SQLite wait for each other; with Prefect alone, one of them fails at once."""

import asyncio
from pathlib import Path

import pytest
from prefect.server.database.configurations import AioSqliteConfiguration
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from demo.one_writer import OneWriterConfiguration

COUNT = "SELECT count(*) FROM number"
ADD = "INSERT INTO number VALUES (1)"


async def prepare(configuration: AioSqliteConfiguration) -> None:
    engine = await configuration.engine()
    async with engine.begin() as connection:
        await connection.execute(text("CREATE TABLE number (value INTEGER)"))


async def read_then_write(
    configuration: AioSqliteConfiguration, has_read: asyncio.Event, may_write: asyncio.Event
) -> None:
    engine = await configuration.engine()
    async with await configuration.session(engine) as session, configuration.begin_transaction(session):
        await session.execute(text(COUNT))
        has_read.set()
        await may_write.wait()
        await session.execute(text(ADD))


async def write_beside_each_other(configuration: AioSqliteConfiguration) -> int:
    """Have one writer read, another one write, and the first one write then; gives how many rows there are."""
    await prepare(configuration)
    first_read, may_write, second_read = asyncio.Event(), asyncio.Event(), asyncio.Event()
    go = asyncio.Event()
    go.set()
    first = asyncio.create_task(read_then_write(configuration, first_read, may_write))
    await first_read.wait()
    second = asyncio.create_task(read_then_write(configuration, second_read, go))
    # It writes now, or waits for its turn.
    await asyncio.wait({second}, timeout=0.5)
    may_write.set()
    await asyncio.gather(first, second)
    engine = await configuration.engine()
    async with engine.connect() as connection:
        return int((await connection.scalar(text(COUNT))) or 0)


def url_of(folder: Path) -> str:
    return f"sqlite+aiosqlite:///{folder / 'numbers.sqlite3'}"


def test_a_writer_that_read_before_another_one_wrote_fails_with_prefects_own_transactions(tmp_path: Path) -> None:
    with pytest.raises(OperationalError, match="locked"):
        asyncio.run(write_beside_each_other(AioSqliteConfiguration(connection_url=url_of(tmp_path))))


def test_writers_that_take_turns_all_write(tmp_path: Path) -> None:
    assert asyncio.run(write_beside_each_other(OneWriterConfiguration(url_of(tmp_path)))) == 2


def test_a_transaction_inside_a_transaction_does_not_wait_for_itself(tmp_path: Path) -> None:
    configuration = OneWriterConfiguration(url_of(tmp_path))

    async def nest() -> int:
        await prepare(configuration)
        engine = await configuration.engine()
        async with await configuration.session(engine) as outer, configuration.begin_transaction(outer):
            async with await configuration.session(engine) as inner, configuration.begin_transaction(inner):
                count = await inner.scalar(text(COUNT))
            await outer.execute(text(ADD))
        async with await configuration.session(engine) as later, configuration.begin_transaction(later):
            await later.execute(text(ADD))
        return int(count or 0)

    assert asyncio.run(asyncio.wait_for(nest(), 20)) == 0


def test_a_writer_that_fails_lets_the_next_one_write(tmp_path: Path) -> None:
    configuration = OneWriterConfiguration(url_of(tmp_path))

    async def fail_then_write() -> None:
        await prepare(configuration)
        engine = await configuration.engine()
        with pytest.raises(OperationalError, match="no such table"):
            async with await configuration.session(engine) as session, configuration.begin_transaction(session):
                await session.execute(text("INSERT INTO missing VALUES (1)"))
        async with await configuration.session(engine) as session, configuration.begin_transaction(session):
            await session.execute(text(ADD))

    asyncio.run(asyncio.wait_for(fail_then_write(), 20))
