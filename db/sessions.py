"""Sessions that take the engine of the event loop in which they are used."""

import asyncio
from typing import TYPE_CHECKING, Any

from sqlalchemy import Engine, event
from sqlalchemy.orm import Session, SessionTransaction

from errors import DatabaseError

if TYPE_CHECKING:
    from db.engines import Database


class LoopSession(Session):
    """The inner session of an `AsyncSession`; its transactions live and end in one event loop each.

    A session may be used in one loop after another. What it had not committed when its loop ended is rolled back, and
    the next statement or commit says so.
    """

    database: "Database"
    _loop: asyncio.AbstractEventLoop | None = None

    def get_bind(self, *args: Any, **kwargs: Any) -> Engine:
        """Give the running loop's engine.

        Raises:
            DatabaseError: The session is in a transaction of another loop.
        """
        self._refuse_other_loop()
        return self.database.engine().sync_engine

    def commit(self) -> None:
        """See `Session.commit`.

        Raises:
            DatabaseError: The session is in a transaction of another loop.
        """
        self._refuse_other_loop()
        super().commit()

    def rollback(self) -> None:
        """See `Session.rollback`."""
        self._leave_ended_loop()
        super().rollback()

    def close(self) -> None:
        """See `Session.close`."""
        self._leave_ended_loop()
        super().close()

    def _refuse_other_loop(self) -> None:
        if self._leave_ended_loop():
            raise DatabaseError(
                f"a session of {self.database.name} was left open when its event loop ended, and what it had not "
                "committed was rolled back: open, commit and close a session in one coroutine, best with `async with`"
            )

    def _leave_ended_loop(self) -> bool:
        """Let go of a transaction whose loop is closed, and tell whether there was one."""
        if self._loop is None or self._loop is asyncio.get_running_loop():
            return False
        if not self._loop.is_closed():
            raise DatabaseError(
                f"a session of {self.database.name} is in the middle of a transaction in another event loop: "
                "give each loop a session of its own"
            )
        self.database.forget_ended_loops()
        self.invalidate()
        return True


@event.listens_for(LoopSession, "after_begin", propagate=True)
def _enter_loop(session: LoopSession, _transaction: SessionTransaction, _connection: Any) -> None:
    session._loop = asyncio.get_running_loop()


@event.listens_for(LoopSession, "after_transaction_end", propagate=True)
def _leave_loop(session: LoopSession, transaction: SessionTransaction) -> None:
    if transaction.parent is None:
        session._loop = None
