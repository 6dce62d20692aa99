"""Copying the source's rows into the staging tables, in chunks."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

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
from hr.row_checks import Chunk, prepare_chunk
from hr.source import Source

Progress = Callable[[EntityName, int], Awaitable[None]]

STAGED_TABLES: dict[EntityName, Table] = {
    "department": staged_department,
    "employee": staged_employee,
    "account": staged_account,
    "assignment": staged_assignment,
}
_WORKING_TABLES = (*STAGED_TABLES.values(), planned_employee, planned_user, planned_assignment)


async def empty_staging(database: Database) -> None:
    """Remove what an earlier replication staged, however that one ended."""
    await empty_planned_and_staged(database)
    async with database.engine().begin() as connection:
        await _empty(connection, rejected_row)


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
    """Copy an entity's rows from the source into its staging table; whatever the table held goes first.

    While one chunk is written the next is read; no more than three chunks are in memory.

    Args:
        source: The HRIS.
        database: The application database.
        entity: What to copy.
        chunk_rows: Rows a chunk.
        progress: Called after each chunk with the entity and the number of rows so far.

    Returns:
        The number of rows read.
    """
    async with database.engine().begin() as connection:
        await _empty(connection, STAGED_TABLES[entity])
        await connection.execute(delete(rejected_row).where(rejected_row.c.entity == entity))
    read = 0
    writing: asyncio.Task[None] | None = None
    async with BulkLoader(database, STAGED_TABLES[entity]) as staged, BulkLoader(database, rejected_row) as rejected:

        async def write(chunk: Chunk, rows: int) -> None:
            await staged.write(chunk.staged)
            await rejected.write(chunk.rejected)
            await progress(entity, rows)

        try:
            async for rows in source.read(entity, chunk_rows):
                chunk = await asyncio.to_thread(prepare_chunk, entity, rows, read)
                read += len(rows)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(write(chunk, read))
        finally:
            if writing is not None:
                await writing
    return read


async def _empty(connection: Any, table: Table) -> None:
    if connection.dialect.name == "mysql":
        quoted = connection.dialect.identifier_preparer.quote(table.name)
        await connection.execute(text(f"TRUNCATE TABLE {quoted}"))
    else:
        await connection.execute(delete(table))
