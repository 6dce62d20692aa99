"""The documented HRIS and BioStar, made on a SQL Server from SQLite files with the same rows."""

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from uuid import uuid4

import pyodbc
from sqlalchemy import URL

from database_urls import parse_database_url
from db.sql_server import make_connector
from demo.hris_tables import TABLES
from settings import get_settings

HRIS_TABLES = {("Security" if name == "User" else "dbo", name): columns for name, columns in TABLES.items()}
TIMES = {"InDate", "OutDate", "SignDatetime", "DateFrom", "SRVDT"}
EVENTS = (
    "EVTLGUID int NOT NULL PRIMARY KEY, SRVDT datetime NULL, DEVDT int NOT NULL, DEVUID int NOT NULL, "
    "USRID nvarchar(32) NULL, EVT int NOT NULL, TNAKEY int NULL"
)


def biostar_tables(file: Path) -> dict[tuple[str, str], str]:
    """Give the tables of events that a file has, by schema and name."""
    with closing(sqlite3.connect(file)) as connection:
        names = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
    return {("dbo", name): EVENTS for name in names}


@contextmanager
def database_of(server: str, name: str, file: Path, tables: Mapping[tuple[str, str], str]) -> Iterator[str]:
    """Make a database of its own on a server, filled with the rows of a file; it is dropped at the end.

    Args:
        server: The URL of the server; its account may create databases.
        name: The beginning of the database's name.
        file: Holds tables of the same names.
        tables: The columns as T-SQL defines them, by schema and name.

    Yields:
        The URL of the database.
    """
    url = parse_database_url(server)
    database = f"{name}-{uuid4().hex[:8]}"
    with _connect(url) as outside:
        outside.execute(f"CREATE DATABASE [{database}]")
        try:
            with _connect(url.set(database=database)) as inside:
                for schema in {schema for schema, _ in tables} - {"dbo"}:
                    inside.execute(f"CREATE SCHEMA [{schema}]")
                for (schema, table), columns in tables.items():
                    inside.execute(f"CREATE TABLE [{schema}].[{table}] ({columns})")
                    _copy(file, inside, schema, table)
            yield url.set(database=database).render_as_string(hide_password=False)
        finally:
            outside.execute(f"DROP DATABASE [{database}]")


@contextmanager
def _connect(url: URL) -> Iterator[pyodbc.Connection]:
    connector = make_connector("the test server", "HRIS_TEST_URL", url, get_settings())
    with closing(pyodbc.connect(connector.connection_string, autocommit=True, timeout=30)) as connection:
        yield connection


def _copy(file: Path, connection: pyodbc.Connection, schema: str, table: str) -> None:
    with closing(sqlite3.connect(file)) as source:
        cursor = source.execute(f'SELECT * FROM "{table}"')
        times = [place for place, column in enumerate(cursor.description) if column[0] in TIMES]
        rows = [
            [_to_time(value) if place in times else value for place, value in enumerate(row)]
            for row in cursor.fetchall()
        ]
    if rows:
        marks = ", ".join("?" * len(rows[0]))
        connection.cursor().executemany(f"INSERT INTO [{schema}].[{table}] VALUES ({marks})", rows)


def _to_time(value: str | None) -> datetime | None:
    # As a text it would be read by the order of day and month that the login's language has.
    return datetime.fromisoformat(value) if value else None
