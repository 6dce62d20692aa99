"""What the doctor asks of any database."""

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, text
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


def _tell_place(url: URL) -> str:
    if url.host is None:
        return str(url.database).removeprefix("file:")
    return f"{url.host}{f':{url.port}' if url.port else ''}/{url.database}"


@asynccontextmanager
async def leaving_nothing_open(database: Database) -> AsyncIterator[None]:
    """Close a database's pooled connections at the end: the doctor's databases do not live as long as its event loop.

    Args:
        database: The database.
    """
    try:
        yield
    finally:
        await database.dispose()


async def examine_server(system: str, connection: AsyncConnection) -> AsyncGenerator[Finding, None]:
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
    place = _tell_place(connection.engine.url)
    told = f"{PRODUCT[dialect]}{version} at {place}, answers in {min(times) * 1000:.1f} ms"
    yield Finding(system, "reachable", Status.OK, told)
    if dialect in CLOCK:
        before = datetime.now(UTC)
        clock: datetime = (await connection.scalar(text(CLOCK[dialect]))).replace(tzinfo=UTC)
        middle = before + (datetime.now(UTC) - before) / 2
        yield compare_clocks(system, (clock - middle).total_seconds())
