"""A lock that one process holds on a database, freed at once when that process dies."""

import asyncio
import contextlib
import fcntl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engines import Database
from errors import AlreadyRunning, DatabaseError

# Longer than any run: a server that drops idle connections would drop the lock with them.
IDLE_SECONDS = 7 * 24 * 3600
# How long a lock is waited for whose holder may just have died: the server needs a moment to notice.
WAIT_SECONDS = 2


class AdvisoryLock:
    """A lock that is held; made by `hold_lock`."""

    def __init__(self, name: str, holder: int | None) -> None:
        self.name = name
        self._holder = holder

    async def check(self, connection: AsyncConnection) -> None:
        """Make sure that the lock is still held.

        Args:
            connection: Any connection to the database, for example the one that is about to write.

        Raises:
            DatabaseError: The lock was lost: the connection that held it is gone.
        """
        if self._holder is None:
            return
        holder = await connection.scalar(text("SELECT IS_USED_LOCK(:name)"), {"name": self.name})
        if holder != self._holder:
            raise DatabaseError(
                f"the lock {self.name!r} was lost before the work was done (its connection was closed by the server or "
                "the network), so nothing was written. Run it again"
            )


@asynccontextmanager
async def hold_lock(database: Database, purpose: str) -> AsyncIterator[AdvisoryLock]:
    """Hold the lock of a purpose, or fail after `WAIT_SECONDS` at most.

    On MariaDB it belongs to a connection, on SQLite to an open file beside the database: neither outlives its process.

    Args:
        database: What is locked; other databases have locks of their own.
        purpose: What the lock is for, at most 30 characters.

    Raises:
        AlreadyRunning: Another process, or another task of this one, holds it.
    """
    refusal = AlreadyRunning(f"another {purpose} is running on {database.name}: wait for its end, or cancel it")
    if database.url.get_backend_name() == "sqlite":
        path = Path(f"{database.url.database}.{purpose.replace(' ', '-')}.lock")
        path.parent.mkdir(parents=True, exist_ok=True)
        with await asyncio.to_thread(path.open, "w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise refusal from None
            yield AdvisoryLock(purpose, None)
        return
    # MariaDB's lock names are the server's, not the database's.
    name = f"{purpose}@{database.url.database}"[:64]
    async with database.engine().connect() as connection:
        await connection.execute(text("SET SESSION wait_timeout = :seconds"), {"seconds": IDLE_SECONDS})
        if await connection.scalar(text("SELECT GET_LOCK(:name, :wait)"), {"name": name, "wait": WAIT_SECONDS}) != 1:
            raise refusal
        holder = await connection.scalar(text("SELECT CONNECTION_ID()"))
        # Ends the transaction that the statements began, so that none stays open while the lock is held.
        await connection.commit()
        try:
            yield AdvisoryLock(name, holder)
        finally:
            # Released, so that the next holder need not wait until the server notices the end of the connection, and
            # ended, so that no lock is left in the pool. An error means that both are gone already.
            with contextlib.suppress(DBAPIError):
                await connection.execute(text("SELECT RELEASE_LOCK(:name)"), {"name": name})
            await connection.invalidate()
