"""Who has a run is decided by the application database; who has lost it cannot write there any more."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from uuid import uuid4

import pytest
from sqlalchemy import insert, select, text, update

from api.repositories.lease_repository import Holder, LeaseRepository
from db import fence, maria_database
from db.leases import flow_run_lease
from db.maria_database import DatabaseSessionLocal
from db.tables import scheduler_instance

repository = LeaseRepository()
FIRST = Holder("first", "one.example.org", str(uuid4()), 60)
SECOND = replace(FIRST, name="second", host_name="two.example.org")


class Stopped(Exception):
    """Stands for the end of the process, which a test must survive."""


def stop() -> None:
    raise Stopped


@pytest.fixture(autouse=True)
async def migrated(migrated_mariadb_url: str, settings_environment: Callable[..., None]) -> AsyncIterator[None]:
    settings_environment(MARIA_DATABASE_URL=migrated_mariadb_url)
    yield
    fence._holds.clear()
    await maria_database.database.dispose()


async def take(holder: Holder, run: str, token: str) -> bool:
    async with DatabaseSessionLocal() as session:
        return await repository.take(session, holder, run, token)


async def expire(run: str) -> None:
    """Let a lease's time pass."""
    async with DatabaseSessionLocal.begin() as session:
        past = text("UTC_TIMESTAMP(6) - INTERVAL 1 SECOND")
        await session.execute(update(flow_run_lease).where(flow_run_lease.c.flow_run_id == run).values(expires_at=past))


async def read_token(run: str) -> str | None:
    async with DatabaseSessionLocal() as session:
        token: str | None = await session.scalar(
            select(flow_run_lease.c.token).where(flow_run_lease.c.flow_run_id == run)
        )
        return token


async def write_instance(name: str) -> None:
    async with DatabaseSessionLocal.begin() as session:
        values = {"id": name, "instance_name": name, "status": "running", "started_at": text("UTC_TIMESTAMP(6)")}
        await session.execute(insert(scheduler_instance).values(values))


async def read_instances() -> list[str]:
    async with DatabaseSessionLocal() as session:
        return list(await session.scalars(select(scheduler_instance.c.id)))


async def test_a_run_belongs_to_the_first_who_takes_it_until_it_is_released() -> None:
    run, first, second = (str(uuid4()) for _ in range(3))
    assert await take(FIRST, run, first)
    assert not await take(SECOND, run, second)
    assert await take(FIRST, run, first), "its holder may take it again"
    async with DatabaseSessionLocal() as session:
        await repository.release(session, run, second)
        assert await read_token(run) == first, "another one's token releases nothing"
        await repository.release(session, run, first)
    assert await take(SECOND, run, second)


async def test_of_many_who_want_an_expired_run_at_once_one_gets_it() -> None:
    run = str(uuid4())
    assert await take(FIRST, run, str(uuid4()))
    async with DatabaseSessionLocal() as session:
        assert await repository.find_expired(session, FIRST.work_pool_id, 10) == []
    await expire(run)
    async with DatabaseSessionLocal() as session:
        assert await repository.find_expired(session, str(uuid4()), 10) == [], "another work pool's is left alone"
        (lease,) = await repository.find_expired(session, FIRST.work_pool_id, 10)

    async def take_over() -> bool:
        async with DatabaseSessionLocal() as session:
            return await repository.take_over(session, SECOND, lease, str(uuid4()))

    assert sorted(await asyncio.gather(*(take_over() for _ in range(8)))) == [False] * 7 + [True]


async def test_of_many_who_want_a_new_run_at_once_one_gets_it() -> None:
    run = str(uuid4())
    taken = await asyncio.gather(*(take(FIRST, run, str(uuid4())) for _ in range(8)))
    assert sum(taken) == 1


async def test_a_renewed_lease_does_not_expire_and_a_lost_one_is_told() -> None:
    kept, lost = str(uuid4()), str(uuid4())
    tokens = {run: str(uuid4()) for run in (kept, lost)}
    for run, token in tokens.items():
        assert await take(FIRST, run, token)
        await expire(run)
    async with DatabaseSessionLocal() as session:
        leases = {each.flow_run_id: each for each in await repository.find_expired(session, FIRST.work_pool_id, 10)}
        assert await repository.take_over(session, SECOND, leases[lost], "another")
        assert await repository.renew(session, FIRST, tokens) == [lost]
        assert not await repository.take_over(session, SECOND, leases[kept], "another"), "it was renewed meanwhile"
    assert await read_token(lost) == "another"


async def test_a_lease_that_could_not_be_written_in_time_is_written_with_the_next_renewal() -> None:
    runs = {str(uuid4()): str(uuid4()) for _ in range(3)}
    async with DatabaseSessionLocal() as session:
        assert await repository.renew(session, FIRST, runs) == []
    assert {run: await read_token(run) for run in runs} == runs


async def test_who_has_lost_a_run_commits_nothing_any_more() -> None:
    run, token = str(uuid4()), str(uuid4())
    assert await take(FIRST, run, token)
    fence.hold(run, token, stop)  # type: ignore[arg-type]  # a test goes on
    await write_instance("before")
    await expire(run)
    fence._holds.clear()
    async with DatabaseSessionLocal() as session:
        (lease,) = await repository.find_expired(session, FIRST.work_pool_id, 1)
        assert await repository.take_over(session, SECOND, lease, "another")
        await repository.release(session, run, "another")
    fence.hold(run, token, stop)  # type: ignore[arg-type]
    with pytest.raises(Stopped):
        await write_instance("after")
    fence._holds.clear()
    assert await read_instances() == ["before"]
    assert await take(FIRST, run, str(uuid4())), "the run is free, with another token"


async def test_a_transaction_that_began_before_the_run_was_lost_is_not_committed_after_it() -> None:
    run, token = str(uuid4()), str(uuid4())
    assert await take(FIRST, run, token)
    fence.hold(run, token, stop)  # type: ignore[arg-type]
    async with DatabaseSessionLocal() as session:
        # Its snapshot still shows the old token.
        assert await session.scalar(select(flow_run_lease.c.token)) == token
        await session.execute(
            insert(scheduler_instance).values(
                id="late", instance_name="late", status="running", started_at=text("UTC_TIMESTAMP(6)")
            )
        )
        async with maria_database.database.engine().connect() as other:
            await other.execution_options(isolation_level="AUTOCOMMIT")
            await other.execute(update(flow_run_lease).values(holder="second", token=str(uuid4())))
        with pytest.raises(Stopped):
            await session.commit()
    fence._holds.clear()
    assert await read_instances() == []


async def test_a_run_cannot_be_lost_while_its_transaction_is_being_committed() -> None:
    run, token = str(uuid4()), str(uuid4())
    assert await take(FIRST, run, token)
    await expire(run)
    fence.hold(run, token, stop)  # type: ignore[arg-type]
    async with maria_database.database.engine().connect() as connection:
        await connection.begin()
        await connection.run_sync(fence.check)
        async with DatabaseSessionLocal() as session:
            await session.execute(text("SET SESSION innodb_lock_wait_timeout = 1"))
            (lease,) = await repository.find_expired(session, FIRST.work_pool_id, 1)
            with pytest.raises(Exception, match="Lock wait timeout"):
                await repository.take_over(session, SECOND, lease, "another")
    fence._holds.clear()
    assert await read_token(run) == token
