"""A connection to SQL Server that works in one thread of its own, and stops there when its caller no longer waits.

An ODBC driver's connection is for one thread at a time. aioodbc takes any thread of the event loop's pool for a call,
and a caller that is cancelled in the middle of one, by a time limit for example, goes on to close cursor and connection
while the driver still works on them: with either driver that ends the whole process (segmentation fault, double free).
"""

import asyncio
import contextlib
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any

import aioodbc
import pyodbc
from aioodbc.cursor import Cursor

# Makes a value of what the driver gives for it.
Converter = Callable[[bytes], Any]

# Seconds for the driver to stop a statement that nobody waits for any more, before it is left alone with it.
STOP_LIMIT = 10


class ThreadedConnection(aioodbc.Connection):  # type: ignore[misc]  # aioodbc has no types
    """Does all that aioodbc's connection does, one call after another, in a thread of its own.

    A call whose caller is cancelled is stopped in the driver, as ODBC lets another thread do (`SQLCancel`), so that the
    server ends the statement too. What comes after it, closing above all, waits for its end, but no longer than
    `STOP_LIMIT`; a driver that goes on for longer closes what it holds when it has ended, at the latest at the limit
    for a statement.

    Args:
        connection_string: What the driver is given.
        login_timeout: Seconds that the server may take to let us in.
    """

    _conn: pyodbc.Connection | None

    def __init__(self, connection_string: str, login_timeout: int) -> None:
        # Its thread ends when nothing refers to it any more.
        executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="sql-server")
        super().__init__(dsn=connection_string, timeout=login_timeout, executor=executor)
        self._stopping: threading.Thread | None = None
        self._stopped = False
        self._converters: dict[int, Converter] = {}
        self._cursors: set[pyodbc.Cursor] = set()
        self._forgotten: deque[pyodbc.Cursor] = deque()

    async def open(self) -> "ThreadedConnection":
        """Connect.

        Raises:
            pyodbc.Error: What the driver says.
        """
        await self._connect()
        return self

    def limit_statements(self, seconds: int) -> None:
        """Have the next statements fail that the server does not answer in time.

        Args:
            seconds: The limit.
        """
        if self._conn is not None:
            self._conn.timeout = seconds

    def add_output_converter(self, sqltype: int, func: Converter) -> None:
        """Remember how values of a type are made, for the first answer with a column that may be of it.

        As soon as pyodbc has a converter it looks up the type of each value that it reads, which takes a tenth of the
        time of reading.

        Args:
            sqltype: ODBC's number of the type.
            func: Makes the value.
        """
        self._converters[sqltype] = func

    def use_converters(self) -> None:
        """Give pyodbc the converters that it was not given yet; only in the connection's thread."""
        while self._conn is not None and self._converters:
            self._conn.add_output_converter(*self._converters.popitem())

    async def close(self) -> None:
        """Close the cursors that are still open, and the connection."""
        odbc, self._conn = self._conn, None
        if odbc is not None:
            await self._execute(self._close, odbc)

    def abandon(self) -> None:
        """Have the connection closed without its event loop: at once, or by its thread when that has done its work."""
        self._conn = None
        self._cursors.clear()
        self._forgotten.clear()

    def free(self, cursor: pyodbc.Cursor) -> None:
        """Close a cursor, which may be closed already; only in the connection's thread."""
        self._cursors.discard(cursor)
        with contextlib.suppress(pyodbc.Error):
            cursor.close()

    async def _cursor(self) -> "ThreadedCursor":
        made: pyodbc.Cursor = await self._execute(self._open_cursor, self._conn)
        cursor = ThreadedCursor(made, self, echo=self._echo)
        # SQLAlchemy leaves cursors to the garbage collector, which runs in any thread.
        weakref.finalize(cursor, self._forgotten.append, made)
        return cursor

    def _open_cursor(self, odbc: pyodbc.Connection) -> pyodbc.Cursor:
        cursor = odbc.cursor()
        self._cursors.add(cursor)
        return cursor

    def _execute(self, func: Callable[..., Any], *args: Any, **kwargs: Any) -> asyncio.Future[Any]:
        work = self._executor.submit(self._work, partial(func, *args, **kwargs))
        waiting = asyncio.wrap_future(work, loop=self._loop)
        waiting.add_done_callback(partial(self._stop, work, getattr(func, "__self__", None)))
        if self._stopped:
            # Shielded: the thread does it in the end, also when nobody waits any more.
            return asyncio.ensure_future(asyncio.wait_for(asyncio.shield(waiting), STOP_LIMIT), loop=self._loop)
        return waiting

    def _work(self, call: Callable[[], Any]) -> Any:
        # The driver may not lose the statement that it is being told to stop.
        if (stopping := self._stopping) is not None:
            stopping.join()
        while self._forgotten:
            self.free(self._forgotten.popleft())
        return call()

    def _close(self, odbc: pyodbc.Connection) -> None:
        for cursor in list(self._cursors):
            self.free(cursor)
        odbc.close()

    def _stop(self, work: Future[Any], worked_on: object, waiting: asyncio.Future[Any]) -> None:
        if not waiting.cancelled() or work.done():
            return
        self._stopped = True
        if isinstance(worked_on, pyodbc.Cursor):
            self._stopping = threading.Thread(target=_cancel, args=(worked_on,), daemon=True)
            self._stopping.start()

    def __del__(self) -> None:
        # The driver's connection closes itself when nothing works on it any more.
        if not self.closed:
            warnings.warn(f"Unclosed connection {self!r}", ResourceWarning, stacklevel=1)


class ThreadedCursor(Cursor):  # type: ignore[misc]  # aioodbc has no types
    """A cursor of a `ThreadedConnection`."""

    _conn: ThreadedConnection | None

    async def execute(self, sql: str, *params: Any) -> "ThreadedCursor":
        """Send a statement.

        Args:
            sql: The statement.
            params: Its parameters.

        Raises:
            pyodbc.Error: What the driver says.
        """
        await super().execute(sql, *params)
        # So pyodbc describes the types that it has none for, `datetimeoffset` among them, and bytes.
        if self._conn is not None and any(column[1] is bytearray for column in self._impl.description or ()):
            await self._conn._execute(self._conn.use_converters)
        return self

    async def close(self) -> None:
        """Close the cursor, also when its connection is closed already."""
        connection, self._conn = self._conn, None
        if connection is not None:
            await connection._execute(connection.free, self._impl)


def _cancel(cursor: pyodbc.Cursor) -> None:
    # A driver that cannot stop goes on to the end of the statement, or to its limit.
    with contextlib.suppress(pyodbc.Error):
        cursor.cancel()
