"""Keeps a run's process from writing once its run belongs to another one.

A process whose machine or network stood still may have been taken for dead and its run begun again elsewhere; it does
not notice by itself. Each of its transactions on the application database therefore looks at the run's lease just
before it is committed, and keeps the lease's row locked until it is: either the commit comes first, or the lease
passes to another holder first and nothing is committed.

The token is Kleppmann's fencing token (How to do distributed locking, 2016), checked by the database itself.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NoReturn

from sqlalchemy import Connection, Select, bindparam, select

from db.leases import flow_run_lease

if TYPE_CHECKING:
    from db.engines import Database


@dataclass(frozen=True, slots=True)
class _Hold:
    flow_run_id: str
    token: str
    stop: Callable[[], NoReturn]


_holds: list[_Hold] = []


def hold(flow_run_id: str, token: str, stop: Callable[[], NoReturn]) -> None:
    """Tie this process's writing to a run's lease, until it ends.

    Args:
        flow_run_id: The run.
        token: The lease's token.
        stop: Ends the process; called when a transaction is about to be committed and the lease has another token.
    """
    _holds[:] = [_Hold(flow_run_id, token, stop)]


async def confirm(database: "Database") -> None:
    """End the process if its run is another one's by now; to be called before it says how the run ended.

    Args:
        database: The application database.
    """
    if _holds:
        async with database.engine().begin() as connection:
            await connection.run_sync(check)


def check(connection: Connection) -> None:
    """Let a transaction be committed, or end the process.

    A run without a lease may write: nobody can have taken it over.

    Args:
        connection: In the transaction.
    """
    for held in _holds:
        token = connection.scalar(_reading(), {"run": held.flow_run_id})
        if token not in (None, held.token):
            held.stop()


# A run may commit by the thousand: to build the statement takes longer than to run it.
@cache
def _reading() -> Select[tuple[str]]:
    """Give the statement that reads the token of the run `run`.

    It sees the newest committed token, not that of the transaction's snapshot; it cannot change before the commit.
    """
    lease = flow_run_lease.c
    return select(lease.token).where(lease.flow_run_id == bindparam("run")).with_for_update(read=True)
