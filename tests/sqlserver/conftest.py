"""A SQL Server with the HRIS's and BioStar's tables: the one that is given, or the tests' TDS endpoint.

`HRIS_TEST_URL` and `BIOSTAR_TEST_URL` name servers on which the account may create databases (`make test-sqlserver`).
"""

import gc
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import make_url

from demo.hris_tables import insert_row
from demo.sample_hris import HrisShape, write_sample_hris
from tests.integration.attendance.world import LET_IN, write_biostar
from tests.servers.tds import TdsServer
from tests.servers.tds.drivers import DRIVERS, database_url, driver_name
from tests.sqlserver.schema import HRIS_TABLES, biostar_tables, database_of

# The day that attendance is asked for; a month ago at most, however long the month is.
DAY = (datetime.now(UTC) - timedelta(days=3)).date()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let pass that Prefect asks its server for the default result storage with a client that it does not close."""
    for item in items:
        if "tests/sqlserver/" in item.nodeid:
            item.add_marker(pytest.mark.filterwarnings("ignore:unclosed <(socket|ssl):ResourceWarning"))


@pytest.fixture(autouse=True)
def collect_prefects_sockets() -> Iterator[None]:
    """Collect what Prefect left open while its warning is still ignored, and not in another module's test."""
    yield
    gc.collect()


@dataclass(frozen=True)
class Sources:
    """Where the HRIS and BioStar are.

    Attributes:
        hris: The HRIS's URL.
        biostar: BioStar's URL.
    """

    hris: str
    biostar: str


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The rows as SQLite files: people with their posts and accounts, pairings, signs, door events of two months."""
    folder = tmp_path_factory.mktemp("sources")
    hris, biostar = folder / "hris.sqlite3", folder / "biostar.sqlite3"
    write_sample_hris(hris, HrisShape(people=150))
    with closing(sqlite3.connect(hris)) as connection:
        people = [row[0] for row in connection.execute("SELECT ID FROM HR_Employee ORDER BY ID LIMIT 6")]
        pairs = [
            (people[0], f"{DAY} 08:00:00", f"{DAY} 16:30:00"),
            (people[0], f"{DAY} 18:00:00", f"{DAY} 19:00:00"),
            (people[1], f"{DAY} 22:00:00", f"{DAY + timedelta(days=1)} 06:00:00"),
            (people[2], f"{DAY} 07:00:00", None),
        ]
        connection.executemany(insert_row("TMS_AttendancePairing"), pairs)
        signs = [
            (people[0], f"{DAY} 07:55:00", 1),
            (people[1], f"{DAY} 21:55:00", 1),
            (people[2], f"{DAY} 09:00:00", 2),
        ]
        connection.executemany(insert_row("TMS_Attendance"), signs)
        codes = dict(connection.execute("SELECT ID, Code FROM HR_Employee"))
        connection.commit()
    this_month, last_month = f"{DAY:%Y%m}", f"{DAY.replace(day=1) - timedelta(days=1):%Y%m}"
    code = str(codes[people[3]])
    write_biostar(
        biostar,
        {
            last_month: [(code, f"{DAY.replace(day=1) - timedelta(days=9)} 08:00", LET_IN, 0)],
            this_month: [
                (code, f"{DAY} 08:10", LET_IN, 0),
                (code, f"{DAY} 16:20", 4865, 2),
                ("زائر", f"{DAY} 09:00", LET_IN, None),
            ],
        },
    )
    return hris, biostar


@pytest.fixture(scope="session")
def servers(request: pytest.FixtureRequest) -> Sources:
    """The servers that the environment names, or the endpoint for both."""
    hris, biostar = os.environ.get("HRIS_TEST_URL"), os.environ.get("BIOSTAR_TEST_URL")
    if hris or biostar:
        return Sources(hris or str(biostar), biostar or str(hris))
    endpoint: TdsServer = request.getfixturevalue("sql_server")
    url = database_url(endpoint, "freetds", "master")
    return Sources(url, url)


@pytest.fixture(scope="session")
def databases(servers: Sources, files: tuple[Path, Path]) -> Iterator[Sources]:
    """Databases of their own on the servers, with hyphens in their names."""
    hris, biostar = files
    with (
        database_of(servers.hris, "HMIS-AMH", hris, HRIS_TABLES) as hris_url,
        database_of(servers.biostar, "BioStar2-ac", biostar, biostar_tables(biostar)) as biostar_url,
    ):
        yield Sources(hris_url, biostar_url)


@pytest.fixture(params=DRIVERS)
def served(request: pytest.FixtureRequest, databases: Sources) -> Sources:
    """The databases, reached through each driver."""
    driver = {"driver": driver_name(request.param)}
    return Sources(
        *(
            make_url(url).update_query_dict(driver).render_as_string(hide_password=False)
            for url in (databases.hris, databases.biostar)
        )
    )


@pytest.fixture
def from_files(files: tuple[Path, Path]) -> Sources:
    """The same rows as SQLite files."""
    return Sources(*(f"sqlite:///{path}" for path in files))
