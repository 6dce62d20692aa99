"""The suite's sources over TDS, on both drivers, beside the same rows as SQLite files."""

from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from database_urls import parse_database_url
from db.engines import Database
from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import DRIVERS, Driver, database_url

Serve = Callable[..., Database]


@pytest.fixture(params=DRIVERS)
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each of the ODBC drivers that people use."""
    found: Driver = request.param
    return found


@pytest.fixture
def serve(sql_server: TdsServer, driver: Driver) -> Iterator[Serve]:
    """Gives a function that serves an SQLite file as a SQL Server's database of a new name, with a hyphen in it."""
    served: list[Path] = []

    def serve(
        file: Path, schemas: dict[str, str] | None = None, name: str | None = None, connect_to: str | None = None
    ) -> Database:
        name = name or f"HMIS-{uuid4().hex[:8]}"
        served.append(sql_server.serve_file(name, file, schemas))
        url = parse_database_url(database_url(sql_server, driver, connect_to or name))
        return Database("the HRIS", "HRIS_DATABASE_URL", lambda: url, writes=False)

    yield serve
    sql_server.behave()
    for path in served:
        path.unlink()


@pytest.fixture
def application(embedded: Database) -> Database:
    """The application database as it is when nothing is configured, migrated."""
    return embedded
