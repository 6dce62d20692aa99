"""One engine per running event loop, found when asked for, disposed when its loop's work ends.

An asynchronous engine holds connections that belong to one event loop. Code that shares an engine between loops sees
"attached to a
different loop", "Event loop is closed" and exhausted pools. A `Database` therefore never hands an engine to a loop that
is not its own,
and no caller has to think of it.
"""

import asyncio
import contextlib
import os
import threading
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

from sqlalchemy import URL, Engine, NullPool, event
from sqlalchemy.engine import Connection
from sqlalchemy.engine.interfaces import DBAPIConnection, ExceptionContext
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

from database_urls import SQL_SERVER
from db import fence
from db.driver_connections import close_in_loop, close_without_loop, open_sqlite
from db.sessions import LoopSession
from db.sql_server import make_connector
from errors import DatabaseError, DatabaseUnreachable
from settings import Settings, get_settings

# Seconds that a statement waits for a free pooled connection, or for SQLite's single writer, before it fails.
POOL_TIMEOUT = 120
SQLITE_BUSY_TIMEOUT = 60
CONNECT_TIMEOUT = 15


class _LoopEngine:
    """The engine of one event loop, and the driver's connections that it opened."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.engine = engine
        self.driver_connections: WeakSet[Any] = WeakSet()
        self.pid = os.getpid()
        self._guard: AsyncGenerator[None, None] | None = None
        event.listen(engine.sync_engine, "connect", self._remember)

    def _remember(self, dbapi_connection: Any, _record: Any) -> None:
        self.driver_connections.add(dbapi_connection.driver_connection)

    def dispose_with_loop(self) -> None:
        """Have the running loop dispose the engine when it shuts down.

        `asyncio.run`, `asyncio.Runner` and every runner built like them close the loop's asynchronous generators before
        the loop itself:
        a generator that waits at its `yield` is thus called back at the one moment when connections can still be closed
        properly.
        """
        self._guard = self._wait_for_shutdown()
        with contextlib.suppress(StopIteration):
            self._guard.__anext__().send(None)

    async def _wait_for_shutdown(self) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            await self.engine.dispose()
            # Those that a session still holds are not the pool's to close.
            for connection in list(self.driver_connections):
                await close_in_loop(connection)
            # Sockets are closed in the loop's next round, which may be its last.
            await asyncio.sleep(0)

    def abandon(self) -> None:
        """Close what a loop left open that ended without shutting down: its connections cannot be awaited any more."""
        for connection in list(self.driver_connections):
            close_without_loop(connection)


class Database:
    """A database that may be used from any event loop, thread or process, in any order.

    Args:
        name: What messages call it, for example "the application database".
        setting: The environment variable that configures it, for messages.
        url: Gives the URL; called when the first engine is made, not before.
        writes: Whether transactions write. On SQLite they then take the write lock at their begin, so that none fails
        half-way.
        settings: Gives the settings that a SQL Server's driver needs; called when the first engine is made.
    """

    def __init__(
        self,
        name: str,
        setting: str,
        url: Callable[[], URL],
        *,
        writes: bool,
        settings: Callable[[], Settings] = get_settings,
    ) -> None:
        self.name = name
        self.setting = setting
        self._url = url
        self._writes = writes
        self._settings = settings
        self._engines: dict[asyncio.AbstractEventLoop, _LoopEngine] = {}
        self._inherited: list[_LoopEngine] = []
        self._lock = threading.Lock()
        self.sessions: async_sessionmaker[AsyncSession] = async_sessionmaker(
            expire_on_commit=False, sync_session_class=type("LoopSession", (LoopSession,), {"database": self})
        )

    @property
    def url(self) -> URL:
        """The URL in force."""
        return self._url()

    def engine(self) -> AsyncEngine:
        """Give the running event loop's engine; make it if the loop has none yet.

        Raises:
            DatabaseError: No event loop is running in this thread.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise DatabaseError(
                f"{self.name} is used outside an event loop: call it from a coroutine, as asyncio.run() runs one"
            ) from None
        known = self._engines.get(loop)
        if known is not None and known.pid == os.getpid():
            return known.engine
        with self._lock:
            self._forget_other_lives()
            made = _LoopEngine(self._make_engine())
            self._engines[loop] = made
        made.dispose_with_loop()
        return made.engine

    async def dispose(self) -> None:
        """Close the running loop's pooled connections; the next use opens new ones."""
        known = self._engines.get(asyncio.get_running_loop())
        if known is not None and known.pid == os.getpid():
            await known.engine.dispose()

    def forget_ended_loops(self) -> None:
        """Close what loops left open that were closed without shutting down."""
        with self._lock:
            self._forget_other_lives()

    def _forget_other_lives(self) -> None:
        for loop, known in list(self._engines.items()):
            if known.pid != os.getpid():
                # Made before a fork: the sockets belong to the parent. Kept, so that no finalizer closes them from
                # here.
                self._inherited.append(self._engines.pop(loop))
            elif loop.is_closed():
                self._engines.pop(loop).abandon()

    def _make_engine(self) -> AsyncEngine:
        url = self.url
        if url.get_backend_name() == "sqlite":
            engine = _make_sqlite_engine(url, writes=self._writes)
        elif url.get_backend_name() == "mysql":
            engine = _make_pooled_engine(url, connect_args={"connect_timeout": CONNECT_TIMEOUT})
        else:
            engine = _make_sql_server_engine(self.name, self.setting, url, self._settings())
        event.listen(engine.sync_engine, "handle_error", self._explain)
        if self._writes:
            event.listen(engine.sync_engine, "commit", fence.check)
        return engine

    def _explain(self, context: ExceptionContext) -> None:
        if self.url.get_backend_name() == SQL_SERVER:
            from db.sql_server.failures import explain

            explain(self.name, self.setting, self.url, context)
        else:
            self._explain_failed_connect(context)

    def _explain_failed_connect(self, context: ExceptionContext) -> None:
        if context.connection is not None or context.is_pre_ping:
            return
        url = self.url
        place = f" at {url.host}:{url.port or 'the default port'}" if url.host else ""
        account = f" as {url.username!r}" if url.username else ""
        reason = str(context.original_exception)
        if url.password:
            reason = reason.replace(str(url.password), "***")
        raise DatabaseUnreachable(
            f"cannot connect to {self.name} {url.database!r}{place}{account}: {reason}. "
            f"Check {self.setting}, that the server runs and can be reached from here, and the account's rights"
        ) from context.original_exception


class LoopBoundEngine:
    """Stands for "the engine" where callers expect a module-level `AsyncEngine`: each use takes the running loop's."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def url(self) -> URL:
        """The URL in force (its text hides the password)."""
        return self._database.url

    @property
    def sync_engine(self) -> Engine:
        """The running loop's synchronous engine, as SQLAlchemy asks for it to bind sessions."""
        return self._database.engine().sync_engine

    def connect(self) -> AsyncConnection:
        """See `AsyncEngine.connect`."""
        return self._database.engine().connect()

    def begin(self) -> Any:
        """See `AsyncEngine.begin`."""
        return self._database.engine().begin()

    async def dispose(self) -> None:
        """Close the running loop's pooled connections; the next use opens new ones."""
        await self._database.dispose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._database.engine(), name)


def _make_pooled_engine(url: URL, **options: Any) -> AsyncEngine:
    return create_async_engine(
        url,
        **options,
        pool_pre_ping=True,
        pool_size=5,
        max_overflow=15,
        pool_timeout=POOL_TIMEOUT,
        pool_recycle=1800,
    )


def _make_sql_server_engine(name: str, setting: str, url: URL, settings: Settings) -> AsyncEngine:
    connector = make_connector(name, setting, url, settings)
    # The engine's own URL is for messages: the driver is given the connector's string.
    shown = url.set(query={"driver": connector.driver.name})
    engine = _make_pooled_engine(shown, async_creator=connector.connect, isolation_level=settings.sql_server_isolation)
    dialect = engine.sync_engine.dialect
    ping = dialect.do_ping

    def ping_soon(dbapi_connection: DBAPIConnection) -> bool:
        with connector.hurried(dbapi_connection.driver_connection):
            return ping(dbapi_connection)

    dialect.do_ping = ping_soon  # type: ignore[method-assign]
    return engine


def _make_sqlite_engine(url: URL, *, writes: bool) -> AsyncEngine:
    path = Path(url.database or ":memory:")
    if writes:
        path.parent.mkdir(parents=True, exist_ok=True)
    else:
        # Read-only, and a file that is not there is an error instead of a new, empty database.
        url = url.set(database=f"file:{path}", query={"mode": "ro", "uri": "true"})
    connect_args = {"timeout": SQLITE_BUSY_TIMEOUT, "async_creator_fn": open_sqlite}
    engine = create_async_engine(url, poolclass=NullPool, connect_args=connect_args)
    begin = "BEGIN IMMEDIATE" if writes else "BEGIN"

    @event.listens_for(engine.sync_engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # sqlite3 would begin transactions by itself, and only before some statements.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute("PRAGMA foreign_keys = ON")
        if writes:
            cursor.execute("PRAGMA journal_mode = WAL")
            cursor.execute("PRAGMA synchronous = NORMAL")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
