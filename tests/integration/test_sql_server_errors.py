"""What SQL Server's errors become, with both drivers: tried again or not, said with names and what to do."""

import asyncio
import pickle
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from db import hris_database
from errors import AccessDenied, DatabaseUnreachable, SchemaMismatch, StatementInterrupted, SuiteError
from flows.steps import PERMANENT
from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import DRIVERS, Driver, driver_name

Configure = Callable[..., None]
DATABASE = "HMIS-ERR"
ALL = "SELECT id, name FROM person"
DEADLOCK = "Transaction (Process ID 52) was deadlocked and has been chosen as the deadlock victim. Rerun it."


@pytest.fixture(scope="module")
def server(sql_server: TdsServer) -> TdsServer:
    path = sql_server.create_database(DATABASE)
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE person (id INTEGER, name TEXT)")
        connection.executemany("INSERT INTO person VALUES (?, ?)", [(number, "x" * 50) for number in range(10_000)])
    return sql_server


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    name: Driver = request.param
    return name


@pytest.fixture
def hris(server: TdsServer, driver: Driver, settings_environment: Configure) -> Iterator[Configure]:
    """Point the HRIS to the endpoint; gives a function that sets more."""

    def configure(**variables: object) -> None:
        given = {
            "SQL_SERVER_DRIVER": driver_name(driver),
            "SQL_SERVER_LOGIN_TIMEOUT": 3,
            "HRIS_HOST": "localhost",
            "HRIS_PORT": server.port,
            "HRIS_DATABASE": DATABASE,
            "HRIS_USER": server.user,
            "HRIS_PASSWORD": server.password,
            "HRIS_ENCRYPTION": "unverified",
        }
        settings_environment(**given | variables)

    configure()
    yield configure
    server.behave()


async def read(statement: str = ALL) -> int:
    """Read in chunks, as the suite does; gives the number of rows."""
    async with hris_database.database.engine().connect() as connection:
        result = await connection.stream(text(statement), execution_options={"yield_per": 1_000})
        return sum([len(rows) async for rows in result.partitions()])


def failure(statement: str = ALL) -> SuiteError:
    with pytest.raises(SuiteError) as raised:
        asyncio.run(read(statement))
    message = str(raised.value)
    assert "\n" not in message
    return raised.value


@pytest.mark.parametrize(
    ("number", "message", "told"),
    [
        (1205, DEADLOCK, "That passes, it is tried again"),
        (1222, "Lock request time out period exceeded.", "That passes"),
        (6005, "SHUTDOWN is in progress.", "That passes"),
        (40197, "The service has encountered an error processing your request. Please try again.", "That passes"),
        (40613, f"Database '{DATABASE}' on server 's' is not currently available.", "That passes"),
    ],
)
def test_what_passes_is_an_interrupted_statement(
    hris: Configure, server: TdsServer, number: int, message: str, told: str
) -> None:
    server.misbehave("statement", "error", matching="person", number=number, message=message)
    error = failure()
    assert isinstance(error, StatementInterrupted)
    assert not isinstance(error, PERMANENT)
    assert f"a statement to the HRIS '{DATABASE}' was ended" in str(error)
    assert f"error {number}" in str(error)
    assert told in str(error)


@pytest.mark.parametrize("at_row", [None, 5_000])
def test_a_connection_that_is_lost_in_a_statement_is_an_interruption(
    hris: Configure, server: TdsServer, at_row: int | None
) -> None:
    server.misbehave("statement", "drop", matching="person", at_row=at_row)
    assert isinstance(failure(), StatementInterrupted)
    assert asyncio.run(read()) == 10_000


def test_a_statement_that_takes_too_long_is_ended(hris: Configure, server: TdsServer) -> None:
    hris(SQL_SERVER_STATEMENT_TIMEOUT=1)
    server.misbehave("statement", "stall", matching="person", seconds=20)
    error = failure()
    assert isinstance(error, StatementInterrupted)
    assert "SQL_SERVER_STATEMENT_TIMEOUT" in str(error)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("SELECT id FROM dbo.nobody", ["nobody", "HRIS_MAPPING", "error 208"]),
        ("SELECT nothing FROM person", ["'nothing'", "in person", "error 207"]),
    ],
)
def test_a_missing_table_or_column_is_named_and_not_tried_again(
    hris: Configure, statement: str, told: list[str]
) -> None:
    error = failure(statement)
    assert isinstance(error, SchemaMismatch)
    assert isinstance(error, PERMANENT)
    assert all(part in str(error) for part in [*told, DATABASE])


def test_a_missing_right_is_told_with_the_statement_that_gives_it(hris: Configure, server: TdsServer) -> None:
    said = f"The SELECT permission was denied on the object 'person', database '{DATABASE}', schema 'dbo'."
    server.misbehave("statement", "error", matching="person", number=229, message=said, severity=14)
    error = failure()
    assert isinstance(error, AccessDenied)
    assert isinstance(error, PERMANENT)
    assert f"In the database {DATABASE}: GRANT SELECT ON [dbo].[person] TO [{server.user}]" in str(error)


def test_an_explained_error_is_still_sqlalchemys_and_can_be_sent(hris: Configure) -> None:
    error = failure("SELECT id FROM dbo.nobody")
    assert isinstance(error, DBAPIError)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - what was pickled here
    assert (type(copy), str(copy)) == (type(error), str(error))


def test_a_wrong_password_is_not_tried_again(hris: Configure) -> None:
    hris(HRIS_PASSWORD="wr0ng")  # noqa: S106
    error = failure()
    assert isinstance(error, AccessDenied)
    assert isinstance(error, PERMANENT)
    assert "Login failed for user 'hr_reader'" in str(error)
    assert "error 18456" in str(error)
    assert "wr0ng" not in str(error)


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (18401, "Login failed for user 'x'. Reason: Server is in script upgrade mode."),
        (4060, 'Cannot open database "x" requested by the login. The login failed.'),
        (40613, "Database 'x' on server 's' is not currently available."),
        (17142, "SQL Server service has been paused."),
    ],
)
def test_a_server_that_is_starting_or_moving_is_tried_again(
    hris: Configure, server: TdsServer, number: int, message: str
) -> None:
    server.misbehave("login", "error", number=number, message=message, severity=14)
    error = failure()
    assert isinstance(error, DatabaseUnreachable)
    assert not isinstance(error, PERMANENT)
    assert f"error {number}" in str(error)


@pytest.mark.parametrize("action", ["drop", "stall"])
def test_a_login_that_comes_to_no_end_is_tried_again(hris: Configure, server: TdsServer, action: Any) -> None:
    server.misbehave("login", action, seconds=20)
    assert isinstance(failure(), DatabaseUnreachable)


def test_a_connection_that_died_in_the_pool_is_replaced_without_the_job_noticing(
    hris: Configure, server: TdsServer
) -> None:
    async def read_around_losses() -> list[int]:
        found = [await read()]
        assert await asyncio.to_thread(server.close_idle) >= 1
        found.append(await read())
        assert await asyncio.to_thread(server.close_all) >= 1
        found.append(await read())
        return found

    assert asyncio.run(read_around_losses()) == [10_000] * 3


def test_a_pooled_connection_that_says_nothing_any_more_is_replaced_soon(hris: Configure, server: TdsServer) -> None:
    hris(SQL_SERVER_LOGIN_TIMEOUT=1)

    async def read_around_a_silence() -> list[int]:
        found = [await read()]
        server.misbehave("statement", "stall", matching="SELECT 1", seconds=60)
        async with asyncio.timeout(30):
            found.append(await read())
        return found

    assert asyncio.run(read_around_a_silence()) == [10_000] * 2


def test_a_statement_may_take_longer_than_the_sign_of_life_before_it(hris: Configure, server: TdsServer) -> None:
    hris(SQL_SERVER_LOGIN_TIMEOUT=1)

    async def read_slowly() -> list[int]:
        found = [await read()]
        server.misbehave("statement", "stall", matching="person", seconds=3)
        found.append(await read())
        return found

    assert asyncio.run(read_slowly()) == [10_000] * 2
