"""Reads and writes `flow_run_lease`: which worker has which run, by the clock of the database.

A lease belongs to who knows its token. It is renewed while its holder lives; when it has expired, whoever is first
gives it a new token and has the run from then on. A row whose `expires_at` is null belongs to nobody; it stays for a
while, so that a process that was taken for dead finds a token that is not its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import case, func, or_, select, text, update
from sqlalchemy.dialects.mysql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from db.leases import flow_run_lease

# A point in time of the database: its clock is the only one that all holders share.
NOW = func.utc_timestamp(text("6"))

_lease = flow_run_lease
# Also writes a lease again whose row is gone.
RENEW = insert(_lease)
RENEW = RENEW.on_duplicate_key_update(
    expires_at=case((_lease.c.token == RENEW.inserted.token, RENEW.inserted.expires_at), else_=_lease.c.expires_at)
)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who takes leases.

    Attributes:
        name: The worker, or the run that looks after lost runs.
        host_name: Its machine.
        work_pool_id: The work pool that it serves.
        seconds: How long a lease holds that is not renewed.
    """

    name: str
    host_name: str
    work_pool_id: str
    seconds: int


@dataclass(frozen=True, slots=True)
class ExpiredLease:
    """A lease whose holder has not been heard of."""

    flow_run_id: str
    token: str
    holder: str
    host_name: str


class LeaseRepository:
    """Queries and changes of `flow_run_lease` on MariaDB; it has no state. Each method that writes commits."""

    async def take(self, session: AsyncSession, holder: Holder, flow_run_id: str, token: str) -> bool:
        """Take a run that is about to begin.

        Args:
            session: Of the application database.
            holder: Who takes it.
            flow_run_id: The run.
            token: A new token, or the one that the holder has it by already.

        Returns:
            False if somebody else has it.
        """
        values = await _values(session, holder, flow_run_id, token)
        is_free = or_(_lease.c.expires_at.is_(None), _lease.c.expires_at < NOW, _lease.c.token == token)
        taken = await session.execute(update(_lease).where(_lease.c.flow_run_id == flow_run_id, is_free).values(values))
        await session.commit()
        if taken.rowcount == 1:  # type: ignore[attr-defined]
            return True
        try:
            await session.execute(insert(_lease).values(values))
            await session.commit()
        except IntegrityError:
            await session.rollback()
            return False
        return True

    async def renew(self, session: AsyncSession, holder: Holder, tokens: Mapping[str, str]) -> list[str]:
        """Renew leases.

        Args:
            session: Of the application database.
            holder: Who has them.
            tokens: Flow run ids and the tokens by which it has them.

        Returns:
            The runs that somebody else has taken over.
        """
        rows = [await _values(session, holder, *next(iter(tokens.items())))]
        rows = [{**rows[0], "flow_run_id": run, "token": token} for run, token in tokens.items()]
        await session.execute(RENEW, rows)
        await session.commit()
        return await self.find_lost(session, tokens)

    async def find_lost(self, session: AsyncSession, tokens: Mapping[str, str]) -> list[str]:
        """Give the runs of which somebody else has the lease.

        Args:
            session: Of the application database.
            tokens: Flow run ids and the tokens by which the caller has, or had, them.
        """
        query = select(_lease.c.flow_run_id, _lease.c.token).where(_lease.c.flow_run_id.in_(tokens))
        found = await session.execute(query)
        lost = [run for run, token in found.tuples() if token != tokens[run]]
        await session.rollback()
        return lost

    async def find_expired(self, session: AsyncSession, work_pool_id: str, limit: int) -> list[ExpiredLease]:
        """Give leases whose holder has not been heard of, the oldest first.

        Args:
            session: Of the application database.
            work_pool_id: Of the runs of this work pool.
            limit: How many at most.
        """
        columns = (_lease.c.flow_run_id, _lease.c.token, _lease.c.holder, _lease.c.host_name)
        is_expired = (_lease.c.expires_at < NOW, _lease.c.work_pool_id == work_pool_id)
        found = await session.execute(select(*columns).where(*is_expired).order_by(_lease.c.expires_at).limit(limit))
        leases = [ExpiredLease(*row) for row in found.tuples()]
        await session.rollback()
        return leases

    async def take_over(self, session: AsyncSession, holder: Holder, lease: ExpiredLease, token: str) -> bool:
        """Take a run whose holder has not been heard of; from now on that holder's process cannot write.

        Args:
            session: Of the application database.
            holder: Who takes it.
            lease: What was found.
            token: A new token.

        Returns:
            False if somebody else was faster, or its holder was heard of after all.
        """
        values = await _values(session, holder, lease.flow_run_id, token)
        is_expired = (_lease.c.token == lease.token, _lease.c.expires_at < NOW)
        statement = update(_lease).where(_lease.c.flow_run_id == lease.flow_run_id, *is_expired).values(values)
        is_taken: bool = (await session.execute(statement)).rowcount == 1  # type: ignore[attr-defined]
        await session.commit()
        return is_taken

    async def release(self, session: AsyncSession, flow_run_id: str, token: str) -> None:
        """Leave a run to whoever takes it next.

        The row stays: a process that was taken for dead, and is not, must go on to find a token that is not its own.

        Args:
            session: Of the application database.
            flow_run_id: The run.
            token: The token by which the caller has it.
        """
        is_own = (_lease.c.flow_run_id == flow_run_id, _lease.c.token == token)
        await session.execute(update(_lease).where(*is_own).values(expires_at=None, updated_at=NOW))
        await session.commit()


async def _values(session: AsyncSession, holder: Holder, flow_run_id: str, token: str) -> dict[str, Any]:
    # Values, not expressions: the driver then sends many rows as one statement.
    now = (await session.scalars(select(NOW))).one()
    return {
        "flow_run_id": flow_run_id,
        "work_pool_id": holder.work_pool_id,
        "token": token,
        "holder": holder.name[:255],
        "host_name": holder.host_name[:255],
        "expires_at": now + timedelta(seconds=holder.seconds),
        "updated_at": now,
    }
