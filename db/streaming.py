"""Streaming the rows of a large answer in chunks, without holding up the event loop."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from sqlalchemy import Connection, CursorResult, Dialect, Select
from sqlalchemy.engine.cursor import BufferedRowCursorFetchStrategy, CursorFetchStrategy
from sqlalchemy.ext.asyncio import AsyncConnection

from database_urls import SQL_SERVER

Rows = Sequence[Sequence[Any]]


async def stream_rows(
    connection: AsyncConnection, statement: Select[Any], chunk_rows: int
) -> AsyncGenerator[Rows, None]:
    """Give the rows of a statement, a chunk at a time; the next chunk is fetched when it is asked for.

    Rows come as the driver makes them where it makes Python's own types, as for SQL Server it always does: to wrap
    20,000 of them takes SQLAlchemy a tenth of a second, in which the event loop stands still, and as long again as the
    driver needs.

    Args:
        connection: Where the statement is sent.
        statement: What to select.
        chunk_rows: Rows a chunk; the last may hold fewer.

    Yields:
        Chunks, none of them empty.
    """
    if not _comes_as_wanted(connection.dialect, statement):
        result = await connection.stream(statement, execution_options={"yield_per": chunk_rows})
        async for partition in result.partitions():
            yield partition
        return

    # The first compilation of a statement takes tens of milliseconds; what it learns makes the next one quick.
    await asyncio.to_thread(statement.compile, dialect=connection.dialect)

    def send(sync: Connection) -> CursorResult[Any]:
        return sync.execute(statement, execution_options={"stream_results": True})

    def fetch(_: Connection) -> Rows:
        # The strategy is what SQLAlchemy fetches with itself, errors included, before it makes rows of its own.
        rows: Rows = answer.cursor_strategy.fetchmany(answer, answer.cursor, chunk_rows)
        if isinstance(answer.cursor_strategy, BufferedRowCursorFetchStrategy):
            # Its buffer, empty now, would take every further row up only to give it away.
            answer.cursor_strategy = CursorFetchStrategy()
        return rows

    answer = await connection.run_sync(send)
    try:
        while rows := await connection.run_sync(fetch):
            yield rows
            if len(rows) < chunk_rows:
                return
    finally:
        await connection.run_sync(lambda _: answer.close())


def _comes_as_wanted(dialect: Dialect, statement: Select[Any]) -> bool:
    """Tell whether the driver gives the values that are selected, so that nothing is to be made of them."""
    if dialect.name == SQL_SERVER:
        return True
    types = (column.type.dialect_impl(dialect) for column in statement.selected_columns)
    return all(each.result_processor(dialect, None) is None for each in types)
