"""Connections of the asynchronous drivers: closed in their event loop and after it has gone, opened without a trace."""

import asyncio
import contextlib
import inspect
import sqlite3
from typing import Any

import aiosqlite

# Seconds that SQLite's thread gets to roll back and end.
THREAD_LIMIT = 10


async def open_sqlite(*arguments: Any, **options: Any) -> aiosqlite.Connection:
    """Open a SQLite file as `aiosqlite.connect` does, and leave no thread behind when that fails.

    The driver's thread would go on to answer an event loop that may be closed by then.

    Args:
        arguments: Those of `aiosqlite.connect`.
        options: Those of `aiosqlite.connect`.

    Returns:
        The open connection.

    Raises:
        sqlite3.Error: The file cannot be opened.
    """
    connection = aiosqlite.connect(*arguments, **options)
    connection._thread.daemon = True
    try:
        return await connection
    except sqlite3.Error:
        await asyncio.to_thread(connection._thread.join, THREAD_LIMIT)
        raise


async def close_in_loop(connection: Any) -> None:
    """Close a connection of the running event loop, used or not, closed already or not.

    Args:
        connection: What `aiomysql`, `aiosqlite` or `db.sql_server` gave.
    """
    result = connection.close()
    if inspect.isawaitable(result):
        await result


def close_without_loop(connection: Any) -> None:
    """Close a connection whose event loop is closed, so that nothing of it can be awaited any more.

    Args:
        connection: What `aiomysql`, `aiosqlite` or `db.sql_server` gave.
    """
    module = type(connection).__module__.partition(".")[0]
    if module == "aiomysql":
        writer, connection._writer = connection._writer, None
        if writer is not None:
            _close_transport(writer.transport)
    elif module == "db":
        connection.abandon()
    elif module == "aiosqlite":
        connection.stop()
        connection._thread.join(THREAD_LIMIT)


def _close_transport(transport: Any) -> None:
    encrypted = getattr(transport, "_ssl_protocol", None)
    inner = transport if encrypted is None else encrypted._transport
    # It notes that it is closing, which keeps finalizers quiet, and fails when it turns to its loop.
    with contextlib.suppress(RuntimeError):
        transport.abort()
    owned, inner._sock = inner._sock, None
    if owned is not None:
        owned.close()
