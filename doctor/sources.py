"""The doctor's look at the HRIS and BioStar."""

from collections.abc import AsyncGenerator
from datetime import UTC, datetime, timedelta

from sqlalchemy import URL, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection

from database_urls import SQL_SERVER
from db.engines import Database
from db.sql_server import make_connector
from doctor import BIOSTAR, HRIS
from doctor.databases import examine_server, lacks_its_file, leaving_nothing_open
from doctor.findings import Finding, Status, from_error
from errors import SuiteError
from hr.biostar import events_statement, find_event_tables
from hr.mapping import load_mapping
from hr.source import Source
from settings import Settings

# Sections of a mapping whose tables are read.
SECTIONS = (
    *("department", "employee", "post", "position", "account", "assignment"),
    *("attendance_pairing", "attendance_sign"),
)


async def examine_hris(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Look at the HRIS: driver, encryption, version, and every table and column that the mapping names.

    Args:
        settings: Where it is, its mapping, and how long it may take.

    Raises:
        DatabaseUnreachable: No connection.
    """
    database = _open("the HRIS", "HRIS_DATABASE_URL", settings)
    if settings.hris_database_url is None and lacks_its_file(database):
        yield Finding(
            HRIS,
            "configured",
            Status.WARNING,
            "neither HRIS_DATABASE_URL nor HRIS_HOST is set, and there is no embedded HRIS",
            "Set one of them (docs/sql-server.md); `make demo` writes a sample",
        )
        return
    async with leaving_nothing_open(database):
        async for finding in _examine_driver(HRIS, database, settings):
            yield finding
        async with database.engine().connect() as connection:
            async for finding in examine_server(HRIS, connection):
                yield finding
            for finding in await _check_session(HRIS, connection, settings):
                yield finding
        mapping_file = load_mapping(settings.hris_mapping)
        source = Source(database, mapping_file)
        mapped = [section for section in SECTIONS if getattr(mapping_file.mapping, section) is not None]
        problems = [problem for section in mapped if (problem := await source.find_problem([section]))]
        for problem in problems:
            yield from_error(HRIS, "mapping", SuiteError(problem))
        if not problems:
            told = f"{len(mapped)} tables of {settings.hris_mapping.name} are there and can be read"
            yield Finding(HRIS, "mapping", Status.OK, told)


async def examine_biostar(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Look at BioStar: driver, encryption, version, the newest table of events.

    Args:
        settings: Where it is, and how long it may take.

    Raises:
        DatabaseUnreachable: No connection.
    """
    if not settings.has_biostar:
        yield Finding(BIOSTAR, "configured", Status.OK, "not configured: attendance is read from the HRIS alone")
        return
    database = _open("BioStar", "BIOSTAR_DATABASE_URL", settings)
    async with leaving_nothing_open(database):
        async for finding in _examine_driver(BIOSTAR, database, settings):
            yield finding
        async with database.engine().connect() as connection:
            async for finding in examine_server(BIOSTAR, connection):
                yield finding
            for finding in await _check_session(BIOSTAR, connection, settings):
                yield finding
            yield await _check_events(connection)


def _open(name: str, setting: str, settings: Settings) -> Database:
    def url() -> URL:
        return settings.hris_url if setting.startswith("HRIS") else settings.biostar_url

    return Database(name, setting, url, writes=False, settings=lambda: settings)


async def _examine_driver(system: str, database: Database, settings: Settings) -> AsyncGenerator[Finding, None]:
    if database.url.get_backend_name() != SQL_SERVER:
        return
    connector = make_connector(database.name, database.setting, database.url, settings)
    told = f"{connector.driver.kind.value} ({connector.driver.name}), encryption {connector.encryption}"
    if connector.encryption in {"unverified", "off"}:
        remedy = f"Set {system.upper()}_ENCRYPTION=verified, with a certificate that this machine trusts"
        yield Finding(system, "driver", Status.WARNING, told, remedy)
    else:
        yield Finding(system, "driver", Status.OK, told)


async def _check_session(system: str, connection: AsyncConnection, settings: Settings) -> list[Finding]:
    checked = (await _check_encryption(system, connection), await _check_isolation(system, connection, settings))
    return [finding for finding in checked if finding is not None]


async def _check_encryption(system: str, connection: AsyncConnection) -> Finding | None:
    """Ask the server whether the connection is encrypted; not all accounts may ask."""
    if connection.dialect.name != SQL_SERVER:
        return None
    asked = text("SELECT encrypt_option FROM sys.dm_exec_connections WHERE session_id = @@SPID")
    try:
        said = await connection.scalar(asked)
    except DBAPIError:
        await connection.rollback()
        return None
    if str(said).upper() == "TRUE":
        return Finding(system, "encryption", Status.OK, "on, says the server")
    remedy = f"Set {system.upper()}_ENCRYPTION=verified"
    return Finding(system, "encryption", Status.WARNING, "off, says the server", remedy)


async def _check_isolation(system: str, connection: AsyncConnection, settings: Settings) -> Finding | None:
    if connection.dialect.name != SQL_SERVER or settings.sql_server_isolation != "SNAPSHOT":
        return None
    state = await connection.scalar(text("SELECT snapshot_isolation_state FROM sys.databases WHERE name = DB_NAME()"))
    if state == 1:
        return Finding(system, "isolation", Status.OK, "the database allows SNAPSHOT")
    return Finding(
        system,
        "isolation",
        Status.FAILURE,
        "the database does not allow SNAPSHOT",
        "Set SQL_SERVER_ISOLATION=READ COMMITTED, or ALTER DATABASE ... SET ALLOW_SNAPSHOT_ISOLATION ON",
    )


async def _check_events(connection: AsyncConnection) -> Finding:
    now = datetime.now(UTC)
    tables = await find_event_tables(connection, now - timedelta(days=31), now)
    if not tables:
        return Finding(
            BIOSTAR,
            "events",
            Status.WARNING,
            "there is no table of events (T_LGyyyymm) of this month or the last",
            "Check the database's name, that the account may read its tables, and that doors report to this BioStar",
        )
    try:
        await connection.execute(events_statement(tables[-1], ["0"], now, now))
    except (SuiteError, DBAPIError) as error:
        return from_error(BIOSTAR, "events", error)
    return Finding(BIOSTAR, "events", Status.OK, f"{tables[-1]} is there and can be read")
