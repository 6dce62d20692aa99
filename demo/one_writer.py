"""Has the writers of a Prefect server on SQLite wait for each other.

Prefect 3.8 begins most of its transactions as readers. One that wants to write after another one has written fails at
once, whatever the time limit of the lock (SQLite calls that BUSY_SNAPSHOT); the server answers 503, and the client
tries again after two seconds, then four, then eight. With a handful of runs at once that is most of the time. Here each
transaction begins as a writer, and in its turn.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from weakref import WeakKeyDictionary

from prefect.server.database.configurations import AioSqliteConfiguration
from prefect.server.database.dependencies import MODELS_DEPENDENCIES
from prefect.settings import PREFECT_API_DATABASE_CONNECTION_URL
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import AsyncSession, AsyncSessionTransaction


class OneWriterConfiguration(AioSqliteConfiguration):
    """Prefect's way to SQLite, with one transaction at a time.

    SQLite's own lock would do, but who waits for it looks again every tenth of a second, and not in turn.
    """

    def __init__(self, connection_url: str) -> None:
        super().__init__(connection_url=connection_url)
        self._locks: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()
        self._writers: set[asyncio.Task[object] | None] = set()

    @asynccontextmanager
    async def begin_transaction(
        self, session: AsyncSession, with_for_update: bool = False
    ) -> AsyncGenerator[AsyncSessionTransaction, None]:
        """Begin a transaction as soon as no other one is open; one inside another one begins as Prefect has it.

        Args:
            session: The session.
            with_for_update: Prefect's wish to begin as a writer, which is granted in any case.

        Yields:
            The transaction.
        """
        task = asyncio.current_task()
        if task in self._writers:
            async with super().begin_transaction(session, with_for_update) as transaction:
                yield transaction
            return
        async with self._locks.setdefault(asyncio.get_running_loop(), asyncio.Lock()):
            self._writers.add(task)
            try:
                async with super().begin_transaction(session, with_for_update=True) as transaction:
                    yield transaction
            finally:
                self._writers.discard(task)


def let_writers_wait() -> None:
    """Have the server in this process, not started yet, take turns at writing, if its database is SQLite."""
    url = PREFECT_API_DATABASE_CONNECTION_URL.value()
    if url is not None and make_url(url).get_backend_name() == "sqlite":
        MODELS_DEPENDENCIES["database_config"] = OneWriterConfiguration(url)
