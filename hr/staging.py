"""Copying the source's rows into the staging tables, in chunks."""

import asyncio
import gc
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from typing import Any, TypeVar

from sqlalchemy import Table, delete, func, select, text

from db.bulk_load import BulkLoader
from db.engines import Database
from db.staging import (
    planned_assignment,
    planned_employee,
    planned_user,
    rejected_row,
    staged_account,
    staged_assignment,
    staged_department,
    staged_employee,
)
from hr.mapping import EntityName
from hr.merge.candidates import compare_staged, complete_comparison
from hr.row_checks import Chunk, prepare_chunk
from hr.source import Source
from hr.staged_blocks import Rows, StagedBlocks, blocks_of, take_back_refusals

T = TypeVar("T")
Progress = Callable[[EntityName, int], Awaitable[None]]

STAGED_TABLES: dict[EntityName, Table] = {
    "department": staged_department,
    "employee": staged_employee,
    "account": staged_account,
    "assignment": staged_assignment,
}
# New objects after which the garbage collector looks at them: those of a few chunks.
OBJECTS_BETWEEN_COLLECTIONS = 100_000
_WORKING_TABLES = (*STAGED_TABLES.values(), planned_employee, planned_user, planned_assignment)


async def empty_staging(database: Database) -> None:
    """Remove what an earlier replication left, however it ended, but for staged rows that `stage` can use again."""
    async with database.engine().begin() as connection:
        for entity, table in STAGED_TABLES.items():
            if _keeps_blocks(table):
                await take_back_refusals(connection, entity, table)
    async with database.engine().begin() as connection:
        for table in (*_WORKING_TABLES, rejected_row):
            if not _keeps_blocks(table):
                await _empty(connection, table)


async def empty_planned_and_staged(database: Database) -> None:
    """Remove what a replication staged and planned; the rows that it rejected stay, as its report refers to them."""
    async with database.engine().begin() as connection:
        for table in _WORKING_TABLES:
            await _empty(connection, table)


async def count_planned_and_staged(database: Database) -> int:
    """Count the rows that replications left in the tables that they work in."""
    async with database.engine().connect() as connection:
        counts = [await connection.scalar(select(func.count()).select_from(table)) for table in _WORKING_TABLES]
    return sum(count or 0 for count in counts)


async def stage(source: Source, database: Database, entity: EntityName, *, chunk_rows: int, progress: Progress) -> int:
    """Bring an entity's staging table in line with the source; may be repeated.

    The table is filled anew, or, where it keeps blocks, gets those that it does not hold yet.

    Args:
        source: The HRIS.
        database: The application database.
        entity: What to copy.
        chunk_rows: Rows a chunk.
        progress: Called after each chunk with the entity and the number of rows so far.

    Returns:
        The number of rows read.
    """
    table = STAGED_TABLES[entity]
    async with _answering(source.read(entity, chunk_rows)) as rows:
        async with database.engine().begin() as connection:
            await connection.execute(delete(rejected_row).where(rejected_row.c.entity == entity))
            if _keeps_blocks(table):
                blocks = await StagedBlocks.begin(connection, table)
            else:
                await _empty(connection, table)
        if not _keeps_blocks(table):
            return await _copy(rows, database, entity, None, progress)
        async with _meanwhile(compare_staged(database, last_number=blocks.last_number)) as comparison:
            with _collecting_seldom():
                read = await _copy(rows, database, entity, blocks, progress)
            is_compared = await comparison
    async with database.engine().begin() as connection:
        await blocks.remove_vanished(connection)
    if is_compared:
        await complete_comparison(database, last_number=blocks.last_number)
    return read


async def _copy(
    chunks: AsyncIterator[Rows],
    database: Database,
    entity: EntityName,
    blocks: StagedBlocks | None,
    progress: Progress,
) -> int:
    """Write the rows that are not staged yet; gives the number of all.

    While one chunk is written the next is read; no more than three chunks are in memory.
    """
    read = 0
    writing: asyncio.Task[None] | None = None
    async with BulkLoader(database, STAGED_TABLES[entity]) as staged, BulkLoader(database, rejected_row) as rejected:

        async def write(chunk: Chunk, rows: int) -> None:
            await staged.write(chunk.staged)
            await rejected.write(chunk.rejected)
            await progress(entity, rows)

        try:
            async for rows in chunks:
                chunk = await asyncio.to_thread(_prepare, entity, rows, read, blocks)
                read += len(rows)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(write(chunk, read))
        finally:
            if writing is not None:
                await writing
    return read


@asynccontextmanager
async def _answering(source: AsyncGenerator[Rows, None]) -> AsyncIterator[AsyncIterator[Rows]]:
    """Have the source look for its first rows while the block prepares for them."""

    async def go_on() -> AsyncIterator[Rows]:
        if rows := await first:
            yield rows
            async for rows in source:
                yield rows

    async with aclosing(source), _meanwhile(_first_of(source)) as first:
        yield go_on()


async def _first_of(source: AsyncGenerator[Rows, None]) -> Rows:
    async for rows in source:
        return rows
    return ()


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """Have something done while the block runs; where the block fails it is broken off."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextmanager
def _collecting_seldom() -> Iterator[None]:
    """Spare the garbage collector rows, which form no cycles: it would go through all else that is in memory too."""
    usual = gc.get_threshold()
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def _keeps_blocks(table: Table) -> bool:
    return "block" in table.c


def _prepare(entity: EntityName, rows: Rows, before: int, blocks: StagedBlocks | None) -> Chunk:
    if blocks is None:
        return prepare_chunk(entity, rows, range(before + 1, before + 1 + len(rows)))
    fresh = blocks.choose(rows, before)
    if not fresh.rows:
        return Chunk((), ())
    chunk = prepare_chunk(entity, fresh.rows, fresh.numbers, last_number=blocks.last_number)
    return replace(chunk, staged=[*chunk.staged, blocks_of(fresh, chunk)])


async def _empty(connection: Any, table: Table) -> None:
    if connection.dialect.name == "mysql":
        quoted = connection.dialect.identifier_preparer.quote(table.name)
        await connection.execute(text(f"TRUNCATE TABLE {quoted}"))
    else:
        await connection.execute(delete(table))
