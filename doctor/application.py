"""The doctor's look at the application database."""

import re
from collections.abc import AsyncGenerator

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from db import migrate
from db.engines import Database
from db.schema_check import find_problems
from db.tables import metadata
from doctor import APPLICATION
from doctor.databases import examine_server, lacks_its_file, leaving_nothing_open
from doctor.findings import Finding, Status
from settings import Settings

RIGHTS = ("SELECT", "INSERT", "UPDATE", "DELETE", "CREATE", "ALTER", "DROP", "INDEX", "REFERENCES")
GRANT = re.compile(r"GRANT (.+?) ON (\*|`(?:[^`]|``)+`)\.\* TO ")
LOOPBACK = {None, "localhost", "127.0.0.1", "::1"}


async def examine_application(settings: Settings) -> AsyncGenerator[Finding, None]:
    """Look at the application database: version, encryption, rights, migrations, tables.

    Args:
        settings: Where it is.

    Raises:
        DatabaseUnreachable: No connection.
    """
    database = Database("the application database", "MARIA_DATABASE_URL", lambda: settings.maria_url, writes=True)
    if settings.maria_database_url is None and lacks_its_file(database):
        yield Finding(
            APPLICATION,
            "configured",
            Status.WARNING,
            "MARIA_DATABASE_URL is not set, and there is no embedded database yet",
            "Set it, or run `python -m db migrate`, which makes one",
        )
        return
    async with leaving_nothing_open(database):
        async with database.engine().connect() as connection:
            async for finding in examine_server(APPLICATION, connection):
                yield finding
            if connection.dialect.name == "mysql":
                yield await _check_encryption(connection, database)
                yield await _check_rights(connection, database)
                yield await _check_file_loading(connection)
            problems = await connection.run_sync(lambda sync: find_problems(sync, metadata))
        pending = await migrate.find_pending(database)
        if pending:
            told = f"{len(pending)} migrations are to be applied, from {pending[0]!r}"
            yield Finding(APPLICATION, "schema", Status.FAILURE, told, "Run `python -m db migrate`")
        for problem in problems:
            found, _, remedy = problem.rpartition(": ")
            yield Finding(APPLICATION, "schema", Status.FAILURE, found or problem, remedy if found else "")
        if not pending and not problems:
            yield Finding(APPLICATION, "schema", Status.OK, f"{len(metadata.tables)} tables as this version needs them")


async def _check_encryption(connection: AsyncConnection, database: Database) -> Finding:
    row = (await connection.execute(text("SHOW SESSION STATUS LIKE 'Ssl_cipher'"))).first()
    if cipher := row[1] if row else "":
        return Finding(APPLICATION, "encryption", Status.OK, cipher)
    if database.url.host in LOOPBACK:
        return Finding(APPLICATION, "encryption", Status.OK, "none, on this machine itself")
    return Finding(
        APPLICATION,
        "encryption",
        Status.WARNING,
        "the connection is not encrypted",
        "Add ?ssl_ca=FILE to MARIA_DATABASE_URL, with the certificate of the server's authority",
    )


async def _check_rights(connection: AsyncConnection, database: Database) -> Finding:
    lines = [str(row[0]) for row in await connection.execute(text("SHOW GRANTS"))]
    name = database.url.database or ""
    lacking = find_lacking_rights(lines, name)
    if not lacking:
        return Finding(APPLICATION, "rights", Status.OK, "the account may read, write and change tables")
    # Roles and grants on single tables may give what the database's do not.
    is_sure = all(GRANT.match(line) for line in lines)
    return Finding(
        APPLICATION,
        "rights",
        Status.FAILURE if is_sure else Status.WARNING,
        f"the account {'lacks' if is_sure else 'may lack'} {', '.join(lacking)}",
        f"GRANT {', '.join(lacking)} ON `{name}`.* to the account",
    )


def find_lacking_rights(grants: list[str], database: str) -> list[str]:
    """Give the rights that an account of MariaDB lacks on a database.

    Args:
        grants: What `SHOW GRANTS` says.
        database: The database's name.
    """
    had: set[str] = set()
    for line in grants:
        if (grant := GRANT.match(line)) and _covers(grant[2].strip("`").replace("``", "`"), database):
            had |= {right.strip() for right in grant[1].split(",")}
    return [] if "ALL PRIVILEGES" in had else [right for right in RIGHTS if right not in had]


def _covers(scope: str, database: str) -> bool:
    """Say whether a grant's scope is, or matches, a database: % and _ stand for any characters unless escaped."""
    pattern = "".join(
        {"%": ".*", "_": "."}.get(part, re.escape(part.removeprefix("\\"))) for part in re.findall(r"\\?.", scope)
    )
    return scope == "*" or re.fullmatch(pattern, database) is not None


async def _check_file_loading(connection: AsyncConnection) -> Finding:
    if await connection.scalar(text("SELECT @@local_infile")):
        return Finding(APPLICATION, "loading", Status.OK, "LOAD DATA LOCAL is permitted")
    return Finding(
        APPLICATION,
        "loading",
        Status.WARNING,
        "LOAD DATA LOCAL is not permitted: replications load half as fast",
        "Set local_infile=ON in the server's configuration",
    )
