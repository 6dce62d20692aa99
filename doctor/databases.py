"""What the doctor asks of any database."""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engines import Database
from doctor.findings import Finding, Status, compare_clocks

PINGS = 3
VERSION = {
    "mysql": "SELECT VERSION()",
    "sqlite": "SELECT sqlite_version()",
    "mssql": "SELECT CAST(SERVERPROPERTY('ProductVersion') AS VARCHAR(128))",
}
PRODUCT = {"mysql": "", "sqlite": "SQLite ", "mssql": "SQL Server "}
CLOCK = {"mysql": "SELECT UTC_TIMESTAMP(6)", "mssql": "SELECT SYSUTCDATETIME()"}


def lacks_its_file(database: Database) -> bool:
    """Say whether a database is an SQLite file that does not exist."""
    return database.url.get_backend_name() == "sqlite" and not Path(database.url.database or "").exists()


@asynccontextmanager
async def connect(database: Database) -> AsyncIterator[AsyncConnection]:
    """Open a connection that leaves nothing behind.

    Args:
        database: Where to.

    Yields:
        The connection.

    Raises:
        DatabaseUnreachable: There is none to be had.
    """
    try:
        async with database.engine().connect() as connection:
            yield connection
    finally:
        await database.dispose()


async def examine_server(system: str, connection: AsyncConnection) -> AsyncIterator[Finding]:
    """Say what a server is, how fast it answers and how its clock goes.

    Args:
        system: What it is called.
        connection: To it.
    """
    dialect = connection.dialect.name
    version = await connection.scalar(text(VERSION[dialect]))
    times = []
    for _ in range(PINGS):
        started = time.perf_counter()
        await connection.scalar(text("SELECT 1"))
        times.append(time.perf_counter() - started)
    yield Finding(system, "reachable", Status.OK, f"{PRODUCT[dialect]}{version}, answers in {min(times) * 1000:.1f} ms")
    if dialect in CLOCK:
        before = datetime.now(UTC)
        told: datetime = (await connection.scalar(text(CLOCK[dialect]))).replace(tzinfo=UTC)
        middle = before + (datetime.now(UTC) - before) / 2
        yield compare_clocks(system, (told - middle).total_seconds())
