"""A run that begins while the application database is away has its lease as soon as the database is back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from uuid import UUID, uuid4

import pytest
from sqlalchemy import make_url

from db import maria_database, migrate
from db.engines import Database
from tests.servers import MariaDBServer, mariadb_server
from workers.leases import Leases

POOL = uuid4()


@pytest.fixture
async def server(settings_environment: Callable[..., None]) -> AsyncIterator[MariaDBServer]:
    with mariadb_server() as server:
        url = make_url(server.url(server.create_database()))
        await migrate.upgrade(Database("the application database", "", lambda: url, writes=True))
        settings_environment(MARIA_DATABASE_URL=url.render_as_string(hide_password=False))
        yield server
        await maria_database.database.dispose()


def hold(name: str, lost: list[UUID]) -> Leases:
    return Leases(name, lambda: POOL, lost.append)


async def test_a_run_that_begins_again_in_an_outage_is_not_taken_for_lost(server: MariaDBServer) -> None:
    lost: list[UUID] = []
    leases, run = hold("one", lost), uuid4()
    assert await leases.take(run)
    await leases.release(run)
    server.kill()
    assert await leases.take(run), "runs begin without a lease"
    assert not await leases.is_lost(run)
    server.start()
    assert not await leases.is_lost(run)
    await leases.renew()
    assert lost == []
    assert not await hold("two", []).take(run), "it is known now who has it"
    await leases.release(run)
    assert await hold("two", []).take(run)


async def test_a_run_that_another_one_took_after_the_outage_is_lost(server: MariaDBServer) -> None:
    lost: list[UUID] = []
    leases, run, kept = hold("one", lost), uuid4(), uuid4()
    server.kill()
    assert await leases.take(run)
    assert await leases.take(kept)
    server.start()
    assert await hold("two", []).take(run)
    await leases.renew()
    assert lost == [run]
    assert leases.has_lost(run)
    assert not leases.has_lost(kept)
    assert not await hold("two", []).take(kept)


async def test_runs_that_are_released_while_the_leases_of_an_outage_are_taken_do_not_end_the_renewal(
    server: MariaDBServer,
) -> None:
    leases, runs = hold("one", []), [uuid4() for _ in range(5)]
    server.kill()
    for run in runs:
        assert await leases.take(run)
    server.start()
    await asyncio.gather(leases.renew(), *(leases.release(run) for run in runs))
    assert [leases.find_token(run) for run in runs] == [None] * 5
    another = hold("two", [])
    assert [await another.take(run) for run in runs] == [True] * 5
