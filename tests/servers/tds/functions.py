"""T-SQL's functions that SQLite lacks, and what a server tells of itself."""

import sqlite3
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from tests.servers.tds.types import INT, SqlType

VERSION_TEXT = "Microsoft SQL Server 2022 (test endpoint) - 16.0.1000.6 (X64)"
PROPERTIES = {
    "productversion": "16.0.1000.6",
    "productlevel": "RTM",
    "edition": "Test endpoint",
    "engineedition": 3,
    "collation": "SQL_Latin1_General_CP1_CI_AS",
    "machinename": "tds-endpoint",
    "servername": "tds-endpoint",
}
# What `sp_datatype_info` tells of the types that drivers ask about: name, ODBC's number, length or digits.
DATA_TYPES = (
    ("varchar", 12, 8000),
    ("nvarchar", -9, 4000),
    ("varbinary", -3, 8000),
    ("datetime2", 93, 27),
    ("date", 91, 10),
    ("time", -154, 16),
)
DATA_TYPE_COLUMNS = (("TYPE_NAME", SqlType("nvarchar", 128)), ("DATA_TYPE", SqlType("smallint")), ("PRECISION", INT))


def add_functions(
    connection: sqlite3.Connection,
    *,
    variables: Callable[[str], Any],
    database: Callable[[], str],
    user: str,
    object_id: Callable[[str], int | None],
) -> None:
    """Make the functions known to a session.

    Args:
        connection: The session's.
        variables: Gives `@@NAME`.
        database: Gives the current database.
        user: Who is logged in.
        object_id: Gives a number for a table that exists.
    """
    functions: dict[str, Callable[..., Any]] = {
        "tds_variable": variables,
        "serverproperty": lambda name: PROPERTIES.get(str(name).lower()),
        "databasepropertyex": lambda _database, name: PROPERTIES.get(str(name).lower()),
        "connectionproperty": lambda name: {"net_transport": "TCP", "protocol_type": "TSQL"}.get(str(name).lower()),
        "db_name": lambda *_: database(),
        "suser_sname": lambda *_: user,
        "suser_name": lambda *_: user,
        "original_login": lambda: user,
        "object_id": lambda name, *_: object_id(str(name)),
        "has_perms_by_name": lambda *_: 1,
        "has_dbaccess": lambda *_: 1,
        "sysutcdatetime": _now,
        "sysdatetime": _now,
        "getutcdate": _now,
    }
    for name, function in functions.items():
        connection.create_function(name, -1, function)


def _now() -> str:
    return str(datetime.now(UTC).replace(tzinfo=None))
