"""The TDS endpoint itself, through bare pyodbc on both drivers."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyodbc
import pytest

from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import Driver, connection_string
from tests.waiting import wait_until

Connect = Callable[..., pyodbc.Connection]
COLUMNS = (
    "ID int NOT NULL PRIMARY KEY, name nvarchar(200), story nvarchar(max), word varchar(50), yes bit, at datetime, "
    "exactly datetime2(7), day date, money decimal(19,4), digits decimal(38,10), ratio float, big bigint, "
    "small smallint, tiny tinyint, bytes varbinary(20)"
)
ROW: tuple[Any, ...] = (
    1,
    "  أحمد بن علي - O'Neil 😀 ",
    "م" * 5000,
    "naïve",
    True,
    datetime(2026, 11, 20, 8, 5, 0, 450000),
    datetime(2026, 11, 20, 23, 59, 59, 123456),
    date(1931, 1, 2),
    Decimal("-123456789012345.6789"),
    Decimal("1234567890123456789012345678.0123456789"),
    0.1,
    -(2**62),
    -32768,
    255,
    b"\x00\xff;'",
)
MARKS = ", ".join("?" * len(ROW))
# SQL Server's own numbers of what goes wrong.
DEADLOCK, LOGIN_FAILED, NO_TABLE, NO_COLUMN, NO_DATABASE = 1205, 18456, 208, 207, 4060
# FreeTDS has no one word for a lost connection.
LOST = r"08S01|Unexpected EOF|Unknown error \(0\)"


@pytest.fixture
def database(sql_server: TdsServer) -> Iterator[str]:
    name = f"HMIS-{uuid4().hex[:8]}"
    path = sql_server.create_database(name)
    yield name
    sql_server.behave()
    path.unlink(missing_ok=True)


@pytest.fixture
def connect(sql_server: TdsServer, driver: Driver, database: str) -> Iterator[Connect]:
    opened: list[pyodbc.Connection] = []

    def connect(*, encrypted: bool = False, autocommit: bool = False, **replaced: str) -> pyodbc.Connection:
        text = connection_string(sql_server, driver, database, encrypted=encrypted, **replaced)
        opened.append(pyodbc.connect(text, autocommit=autocommit, timeout=20))
        return opened[-1]

    yield connect
    for connection in opened:
        with suppress(pyodbc.ProgrammingError):
            connection.close()


@pytest.fixture(scope="module")
def numbers(sql_server: TdsServer) -> Iterator[Path]:
    """The file of a database with 3,000 rows that were inserted over TDS."""
    path = sql_server.create_database("NUMBERS")
    with closing(pyodbc.connect(connection_string(sql_server, "freetds", "NUMBERS"), timeout=20)) as connection:
        connection.execute("CREATE TABLE dbo.[Numbers] (ID int NOT NULL, name nvarchar(40) NULL)")
        for first in range(1, 3001, 1000):
            values = ", ".join(f"({number}, N'row {number}')" for number in range(first, first + 1000))
            connection.execute(f"INSERT INTO dbo.[Numbers] (ID, name) VALUES {values}")
        connection.commit()
    yield path
    path.unlink()


@pytest.fixture
def filled(numbers: Path, sql_server: TdsServer, database: str, connect: Connect) -> pyodbc.Connection:
    """A connection to a database with those rows."""
    sql_server.serve_file(database, numbers)
    return connect()


def one(cursor: pyodbc.Cursor) -> tuple[Any, ...]:
    """Give the only row of an answer."""
    (row,) = cursor.fetchall()
    return tuple(row)


def failure_number(error: pyodbc.Error) -> int:
    """Give SQL Server's number from the message, where both drivers put it."""
    numbers = [int(part.split(")")[0]) for part in str(error.args[1]).split("(")[1:] if part.split(")")[0].isdigit()]
    return numbers[0]


def test_every_type_arrives_and_returns_exactly(connect: Connect) -> None:
    connection = connect()
    connection.execute(f"CREATE TABLE [dbo].[Kinds] ({COLUMNS})")
    connection.execute(f"INSERT INTO dbo.Kinds VALUES ({MARKS})", *ROW)
    connection.execute(f"INSERT INTO dbo.Kinds VALUES ({MARKS})", 2, *[None] * (len(ROW) - 1))
    connection.commit()
    cursor = connection.execute("SELECT * FROM dbo.Kinds ORDER BY ID")
    assert [column[0] for column in cursor.description] == [part.split()[0] for part in COLUMNS.split(", ")]
    full, empty = cursor.fetchall()
    assert tuple(full) == ROW
    assert tuple(empty) == (2, *[None] * (len(ROW) - 1))


def test_parameters_of_every_type_find_their_row(connect: Connect) -> None:
    connection = connect()
    connection.execute(f"CREATE TABLE [dbo].[Kinds] ({COLUMNS})")
    connection.execute(f"INSERT INTO dbo.Kinds VALUES ({MARKS})", *ROW)
    for place, column in enumerate(part.split()[0] for part in COLUMNS.split(", ")):
        found = connection.execute(f"SELECT ID FROM dbo.Kinds WHERE {column} = ?", ROW[place]).fetchall()
        assert [tuple(row) for row in found] == [(1,)], column


def test_a_statement_is_carried_out_again_with_other_parameters(filled: pyodbc.Connection) -> None:
    cursor = filled.cursor()
    found = [
        cursor.execute("SELECT name FROM dbo.Numbers WHERE ID = ?", number).fetchone() for number in (1, 2000, 4000, 2)
    ]
    assert [row and row[0] for row in found] == ["row 1", "row 2000", None, "row 2"]


def test_two_thousand_parameters_are_taken(filled: pyodbc.Connection) -> None:
    marks = ", ".join("?" * 2000)
    cursor = filled.execute(f"SELECT count(*) FROM dbo.Numbers WHERE ID IN ({marks})", *range(2, 4002, 2))
    assert one(cursor) == (1500,)


def test_more_parameters_than_sql_server_takes_are_refused(filled: pyodbc.Connection) -> None:
    marks = ", ".join("?" * 2101)
    # Microsoft's driver counts by itself.
    with pytest.raises(pyodbc.Error, match=r"8003|07002"):
        filled.execute(f"SELECT count(*) FROM dbo.Numbers WHERE ID IN ({marks})", *range(2101))


def test_what_is_committed_stays_and_what_is_rolled_back_does_not(filled: pyodbc.Connection, connect: Connect) -> None:
    filled.execute("DELETE FROM dbo.Numbers WHERE ID > 10")
    filled.rollback()
    filled.execute("DELETE FROM dbo.Numbers WHERE ID > 2900")
    filled.commit()
    filled.execute("DELETE FROM dbo.Numbers")
    filled.close()
    assert one(connect().execute("SELECT count(*) FROM dbo.Numbers")) == (2900,)


def test_schemas_and_databases_with_hyphens_are_named_in_three_parts(connect: Connect, database: str) -> None:
    connection = connect(autocommit=True)
    connection.execute("CREATE SCHEMA [Security]")
    connection.execute("CREATE TABLE [Security].[User] (ID int NOT NULL, Name nvarchar(20))")
    connection.execute("INSERT INTO [Security].[User] VALUES (1, N'منى')")
    elsewhere = connect(DATABASE="master")
    found = elsewhere.execute(f"SELECT u.[Name] FROM [{database}].[Security].[User] AS u")
    assert one(found) == ("منى",)
    with pytest.raises(pyodbc.Error) as missing:
        elsewhere.execute(f"SELECT ID FROM [{database}].[dbo].[User]")
    assert failure_number(missing.value) == NO_TABLE


def test_a_database_is_created_and_dropped(connect: Connect) -> None:
    connection = connect(autocommit=True)
    name = f"HMIS-{uuid4().hex[:8]}"
    connection.execute(f"CREATE DATABASE [{name}]")
    connection.execute(f"CREATE TABLE [{name}].[dbo].[T] (ID int NOT NULL)")
    assert one(connection.execute(f"SELECT count(*) FROM [{name}].[dbo].[T]")) == (0,)
    connection.execute(f"DROP DATABASE [{name}]")
    with pytest.raises(pyodbc.Error, match=name):
        connect(DATABASE=name)


@pytest.mark.parametrize("encrypted", [True, False])
def test_a_connection_is_encrypted_when_it_is_asked_for(
    connect: Connect, sql_server: TdsServer, database: str, *, encrypted: bool
) -> None:
    with closing(connect(encrypted=encrypted)) as connection:
        known = [each for each in sql_server.sessions() if each["database"] == database]
        assert [each["encrypted"] for each in known] == [encrypted]
        told = connection.execute("SELECT encrypt_option FROM sys.dm_exec_connections")
        assert one(told) == (str(encrypted).upper(),)


@pytest.mark.parametrize(
    ("statement", "number", "named"),
    [
        ("SELECT ID FROM dbo.Nowhere", NO_TABLE, "dbo.Nowhere"),
        ("SELECT nothing FROM dbo.Numbers", NO_COLUMN, "nothing"),
        ("SELECT n.[Nothing] FROM dbo.Numbers AS n", NO_COLUMN, "Nothing"),
        ("SELEC 1", 102, "SELEC"),
    ],
)
def test_what_is_not_there_or_wrong_is_named(
    filled: pyodbc.Connection, statement: str, number: int, named: str
) -> None:
    with pytest.raises(pyodbc.Error, match=f"(?i){named}") as refused:
        filled.execute(statement)
    assert failure_number(refused.value) == number
    filled.rollback()
    assert one(filled.execute("SELECT 1")) == (1,)


@pytest.mark.parametrize(("replaced", "number"), [({"PWD": "wrong"}, LOGIN_FAILED), ({"DATABASE": "No"}, NO_DATABASE)])
def test_who_may_not_come_in_is_told_why(connect: Connect, replaced: dict[str, str], number: int) -> None:
    with pytest.raises(pyodbc.Error, match=str(number)):
        connect(**replaced)


def test_a_login_is_refused_on_command_and_the_next_one_taken(connect: Connect, sql_server: TdsServer) -> None:
    message = "SQL Server is starting up"
    sql_server.misbehave("login", "error", number=18401, message=message)
    with pytest.raises(pyodbc.Error, match="18401"):
        connect()
    assert one(connect().execute("SELECT 1")) == (1,)


def test_a_deadlock_comes_on_command_at_the_nth_statement(filled: pyodbc.Connection, sql_server: TdsServer) -> None:
    sql_server.misbehave("statement", "error", matching="count(*)", skip=1, number=DEADLOCK, message="deadlocked")
    filled.execute("DELETE FROM dbo.Numbers WHERE ID = 1")
    assert one(filled.execute("SELECT count(*) FROM dbo.Numbers")) == (2999,)
    with pytest.raises(pyodbc.Error) as victim:
        filled.execute("SELECT count(*) FROM dbo.Numbers")
    assert failure_number(victim.value) == DEADLOCK
    filled.rollback()
    assert one(filled.execute("SELECT count(*) FROM dbo.Numbers")) == (3000,)


def test_a_deadlock_comes_on_command_in_the_middle_of_the_rows(
    filled: pyodbc.Connection, sql_server: TdsServer
) -> None:
    sql_server.misbehave("statement", "error", matching="name", at_row=1500, number=DEADLOCK, message="deadlocked")
    cursor = filled.execute("SELECT ID, name FROM dbo.Numbers")
    with pytest.raises(pyodbc.Error) as victim:
        cursor.fetchall()
    assert failure_number(victim.value) == DEADLOCK


def test_a_connection_is_dropped_on_command_at_a_row(
    filled: pyodbc.Connection, connect: Connect, sql_server: TdsServer
) -> None:
    sql_server.misbehave("statement", "drop", matching="name", at_row=1500)
    cursor = filled.execute("SELECT ID, name FROM dbo.Numbers")
    with pytest.raises(pyodbc.Error, match=LOST):
        cursor.fetchall()
    assert one(connect().execute("SELECT count(*) FROM dbo.Numbers")) == (3000,)


def test_idle_connections_are_closed_on_command(
    filled: pyodbc.Connection, connect: Connect, sql_server: TdsServer
) -> None:
    assert sql_server.close_idle() >= 1
    with pytest.raises(pyodbc.Error, match=LOST):
        filled.execute("SELECT 1")
    assert one(connect().execute("SELECT 1")) == (1,)


def test_a_stalled_answer_ends_at_the_statements_timeout(filled: pyodbc.Connection, sql_server: TdsServer) -> None:
    sql_server.misbehave("statement", "stall", matching="SELECT 7")
    filled.timeout = 1
    started = time.monotonic()
    with pytest.raises(pyodbc.Error, match="HYT00"):
        filled.execute("SELECT 7")
    assert time.monotonic() - started < 30


def test_a_slow_answer_comes_after_its_time(filled: pyodbc.Connection, sql_server: TdsServer) -> None:
    sql_server.misbehave("statement", "stall", matching="SELECT 7", seconds=0.5)
    started = time.monotonic()
    assert one(filled.execute("SELECT 7")) == (7,)
    assert time.monotonic() - started >= 0.5


def test_a_statement_is_cancelled_while_its_rows_come(filled: pyodbc.Connection, sql_server: TdsServer) -> None:
    sql_server.misbehave("statement", "stall", matching="name", at_row=10)
    cursor = filled.cursor()
    failures: list[pyodbc.Error] = []

    def read() -> None:
        try:
            cursor.execute("SELECT ID, name FROM dbo.Numbers").fetchall()
        except pyodbc.Error as error:
            failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    wait_until(lambda: any("name" in each for each in sql_server.statements()[-1:]), "the statement arrives")
    cursor.cancel()
    reader.join(timeout=timedelta(minutes=1).total_seconds())
    assert not reader.is_alive()
    filled.rollback()
    assert one(filled.execute("SELECT count(*) FROM dbo.Numbers")) == (3000,)
