"""The leases of a worker's runs, by which other machines know that somebody has them.

A lease lies in the application database, because that is what a run's process must not write to once another one has
the run (`db.fence`). A worker renews the leases of all its runs, whatever their processes do. On SQLite there are none:
such a database serves one machine, on which records do the same (`workers.records`).
"""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TypeVar
from uuid import UUID, uuid4

from prefect.logging import get_logger
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from api.repositories.lease_repository import ExpiredLease, Holder, LeaseRepository
from db.maria_database import DatabaseSessionLocal, database
from errors import DatabaseError
from settings import get_settings

T = TypeVar("T")
RENEWALS = 3
EXPIRED_AT_A_TIME = 100
NONE_LOST: list[str] = []
NONE_EXPIRED: list[ExpiredLease] = []

logger = get_logger("hr.worker")
repository = LeaseRepository()


class Leases:
    """The leases of the runs that one worker, or one run that looks after lost runs, has.

    While the database is away, runs begin without a lease and get theirs when it is back.

    Attributes:
        seconds: How long a lease holds that is not renewed.

    Args:
        name: The worker's name.
        get_work_pool_id: Gives the work pool; called when the first run is taken, or later.
        on_lost: Called with each run that somebody else has taken over.
    """

    def __init__(self, name: str, get_work_pool_id: Callable[[], UUID], on_lost: Callable[[UUID], None]) -> None:
        self._name = name
        self._get_work_pool_id = get_work_pool_id
        self.seconds = get_settings().run_lease_seconds
        self._on_lost = on_lost
        self._is_kept = database.url.get_backend_name() == "mysql"
        self._tokens: dict[UUID, str] = {}
        self._lost: set[UUID] = set()
        self._unwritten: set[UUID] = set()
        self._is_away = False

    @property
    def interval(self) -> float:
        """Seconds between two renewals, and between two looks for expired leases."""
        return self.seconds / RENEWALS

    @property
    def _holder(self) -> Holder:
        return Holder(self._name, socket.gethostname(), str(self._get_work_pool_id()), self.seconds)

    def find_token(self, flow_run_id: UUID) -> str | None:
        """Give the token of a run's lease; None if it needs none."""
        return self._tokens.get(flow_run_id)

    async def take(self, flow_run_id: UUID) -> bool:
        """Take a run that is about to begin.

        Args:
            flow_run_id: The run.

        Returns:
            False if somebody else has it.
        """
        if not self._is_kept:
            return True
        holder, token = self._holder, self._tokens.get(flow_run_id) or str(uuid4())
        is_taken = await self._ask(lambda session: repository.take(session, holder, str(flow_run_id), token), None)
        if is_taken is False:
            return False
        self._lost.discard(flow_run_id)
        self._tokens[flow_run_id] = token
        if is_taken is None:
            self._unwritten.add(flow_run_id)
        return True

    def adopt(self, flow_run_id: UUID, token: str) -> None:
        """Keep the lease of a run whose worker has died on this machine.

        Args:
            flow_run_id: The run.
            token: The token by which that worker had it.
        """
        if self._is_kept:
            self._tokens[flow_run_id] = token

    def has_lost(self, flow_run_id: UUID) -> bool:
        """Tell whether it is known that somebody else has taken a run over."""
        return flow_run_id in self._lost

    async def is_lost(self, flow_run_id: UUID) -> bool:
        """Ask whether somebody else has taken a run over."""
        await self._take_unwritten()
        token = self._tokens.get(flow_run_id)
        if flow_run_id in self._lost or token is None:
            return flow_run_id in self._lost
        found = await self._ask(lambda session: repository.find_lost(session, {str(flow_run_id): token}), NONE_LOST)
        if found:
            self._note_lost(flow_run_id)
        return flow_run_id in self._lost

    async def release(self, flow_run_id: UUID) -> None:
        """Leave a run whose process has ended to whoever takes it next."""
        token = self._tokens.pop(flow_run_id, None)
        self._lost.discard(flow_run_id)
        self._unwritten.discard(flow_run_id)
        if token is not None:
            await self._ask(lambda session: repository.release(session, str(flow_run_id), token), None)

    async def keep(self) -> None:
        """Renew all leases, for ever."""
        while True:
            await asyncio.sleep(self.interval)
            await self.renew()

    async def renew(self) -> None:
        """Renew all leases, and tell of those that were lost."""
        await self._take_unwritten()
        tokens = {str(run): token for run, token in self._tokens.items() if run not in self._unwritten}
        if not tokens:
            return
        holder = self._holder
        for lost in await self._ask(lambda session: repository.renew(session, holder, tokens), NONE_LOST):
            # It may have been released meanwhile.
            if self._tokens.get(UUID(lost)) == tokens[lost]:
                self._note_lost(UUID(lost))

    async def _take_unwritten(self) -> None:
        """Take the runs that began while the database was away; to renew would be to lose those that had a lease."""
        for run in list(self._unwritten):
            holder, token = self._holder, self._tokens.get(run)
            if token is None:
                # Released while another one was taken.
                continue
            is_taken = await self._ask(partial(repository.take, holder=holder, flow_run_id=str(run), token=token), None)
            if is_taken is None:
                return
            if self._tokens.get(run) == token:
                self._unwritten.discard(run)
                if not is_taken:
                    self._note_lost(run)
            elif is_taken:
                # Released meanwhile, when there was nothing to release yet: nobody else could take it until it expires.
                await self._ask(partial(repository.release, flow_run_id=str(run), token=token), None)

    async def take_over_expired(self) -> list[ExpiredLease]:
        """Take the runs of the work pool whose holder has not been heard of.

        Returns:
            The leases that were taken over; they are to be released when the runs are settled.
        """
        if not self._is_kept:
            return []
        pool = str(self._get_work_pool_id())
        found = await self._ask(lambda session: repository.find_expired(session, pool, EXPIRED_AT_A_TIME), NONE_EXPIRED)
        taken = []
        for lease in found:
            token = str(uuid4())
            # One at a time: each is a decision between several holders, and there are few.
            if await self._ask(self._take_over(lease, token), False):
                self._tokens[UUID(lease.flow_run_id)] = token
                taken.append(lease)
        return taken

    def _take_over(self, lease: ExpiredLease, token: str) -> Callable[[AsyncSession], Awaitable[bool]]:
        holder = self._holder
        return lambda session: repository.take_over(session, holder, lease, token)

    def _note_lost(self, flow_run_id: UUID) -> None:
        self._tokens.pop(flow_run_id, None)
        self._unwritten.discard(flow_run_id)
        if flow_run_id not in self._lost:
            self._lost.add(flow_run_id)
            logger.warning("The run %s was taken over by another worker: its process here is ended.", flow_run_id)
            self._on_lost(flow_run_id)

    async def _ask(self, question: Callable[[AsyncSession], Awaitable[T]], otherwise: T) -> T:
        """Ask the database; say once for each outage that it does not answer."""
        try:
            async with DatabaseSessionLocal() as session:
                answer = await question(session)
        except (DatabaseError, SQLAlchemyError, OSError) as error:
            if not self._is_away:
                logger.warning("Runs have no leases until the application database answers: %s", error)
            self._is_away = True
            return otherwise
        self._is_away = False
        return answer
