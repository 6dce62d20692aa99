"""Brings the application database to the schema of this version: builds an empty one, adopts an existing one.

The web application has migrations of its own in the same database, so the suite keeps its version in its own table.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import AsyncConnection

from db.engines import Database
from errors import DatabaseError, SchemaMismatch

SCRIPTS = Path(__file__).resolve().parent / "migrations"
VERSION_TABLE = "hr_flows_alembic_version"
# Seconds that one process waits while another one migrates the same database.
TURN_LIMIT = 600


async def upgrade(database: Database) -> list[str]:
    """Apply the migrations that the database lacks. Safe to call from several processes at once.

    Args:
        database: The application database, empty or with the web application's tables.

    Returns:
        What was applied, oldest first, for example `["0001 Create the tables ..."]`; empty when it was up to date.

    Raises:
        SchemaMismatch: An existing table cannot serve the suite, or a newer version has migrated the database.
        DatabaseUnreachable: No connection could be made.
        DatabaseError: Another process has been migrating for 10 minutes.
    """
    async with database.engine().connect() as connection, _turn(database, connection), connection.begin():
        return await connection.run_sync(_upgrade)


async def find_pending(database: Database) -> list[str]:
    """Tell what `upgrade` would apply; changes nothing.

    Args:
        database: The application database.

    Returns:
        What is to be applied, oldest first; empty when the database is up to date.

    Raises:
        SchemaMismatch: A newer version has migrated the database.
        DatabaseUnreachable: No connection could be made.
    """
    async with database.engine().connect() as connection:
        return await connection.run_sync(_find_pending)


@asynccontextmanager
async def _turn(database: Database, connection: AsyncConnection) -> AsyncIterator[None]:
    """Wait until no other process migrates the database. On SQLite the transaction's own write lock does that."""
    if connection.dialect.name != "mysql":
        yield
        return
    # MariaDB's lock names are the server's, not the database's.
    name = {"name": f"hr_flows_migration@{database.url.database}"}
    got = await connection.scalar(text("SELECT GET_LOCK(:name, :limit)"), name | {"limit": TURN_LIMIT})
    await connection.commit()
    if got != 1:
        raise DatabaseError(
            f"another process has been migrating {database.name} {database.url.database!r} for {TURN_LIMIT} s: "
            "see SHOW PROCESSLIST, and try again when it has ended"
        )
    try:
        yield
    finally:
        await connection.execute(text("SELECT RELEASE_LOCK(:name)"), name)
        await connection.commit()


def _make_config(connection: Connection) -> Config:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.attributes.update(connection=connection, version_table=VERSION_TABLE)
    return config


def _upgrade(connection: Connection) -> list[str]:
    pending = _find_pending(connection)
    if pending:
        command.upgrade(_make_config(connection), "head")
    return pending


def _find_pending(connection: Connection) -> list[str]:
    scripts = ScriptDirectory.from_config(_make_config(connection))
    current = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE}).get_current_revision()
    known = {script.revision: f"{script.revision} {script.doc}" for script in scripts.walk_revisions()}
    if current is not None and current not in known:
        raise SchemaMismatch(
            f"the database is at migration {current!r} (table {VERSION_TABLE!r}), which this version does not have: "
            "a newer version has migrated it. Install that version"
        )
    return [title for revision, title in sorted(known.items()) if current is None or revision > current]
