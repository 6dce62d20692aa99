"""The databases: SQLite files of one folder, seen as one server's.

`HMIS-AMH.sqlite3` is the database `HMIS-AMH`. A table of another schema than `dbo` has its schema in its name there:
`[Security].[User]` is the SQLite table `Security.User`. Columns keep their declared types, which tell how they are
sent.
"""

import sqlite3
from pathlib import Path
from typing import NamedTuple

from tests.servers.tds.tokens import SqlError

SUFFIX = ".sqlite3"
DEFAULT_SCHEMA = "dbo"
BUSY_TIMEOUT = 60.0
INVALID_OBJECT, NO_SUCH_DATABASE, DATABASE_EXISTS = 208, 911, 1801
# What a database shows of itself, for each database as a view of its own; {db} is its name in quotes, {name} as a text.
TABLES = (
    "SELECT {name} AS TABLE_CATALOG, "
    "CASE WHEN instr(name, '.') THEN substr(name, 1, instr(name, '.') - 1) ELSE 'dbo' END AS TABLE_SCHEMA, "
    "substr(name, instr(name, '.') + 1) AS TABLE_NAME, 'BASE TABLE' AS TABLE_TYPE, name AS full_name "
    "FROM {db}.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'"
)
VIEWS = {
    "INFORMATION_SCHEMA.TABLES": f"SELECT TABLE_CATALOG, TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE FROM ({TABLES})",
    "INFORMATION_SCHEMA.COLUMNS": (
        "SELECT t.TABLE_CATALOG, t.TABLE_SCHEMA, t.TABLE_NAME, c.name AS COLUMN_NAME, c.cid + 1 AS ORDINAL_POSITION, "
        "CASE WHEN c.\"notnull\" THEN 'NO' ELSE 'YES' END AS IS_NULLABLE, "
        "lower(CASE WHEN instr(c.type, '(') THEN substr(c.type, 1, instr(c.type, '(') - 1) ELSE c.type END) "
        f"AS DATA_TYPE FROM ({TABLES}) AS t JOIN pragma_table_info(t.full_name, {{name}}) AS c"
    ),
    "INFORMATION_SCHEMA.SCHEMATA": (
        f"SELECT DISTINCT TABLE_CATALOG AS CATALOG_NAME, TABLE_SCHEMA AS SCHEMA_NAME FROM ({TABLES})"
    ),
    "sys.system_views": "SELECT 'dm_exec_sessions' AS name",
    "sys.databases": (
        "SELECT {name} AS name, 1 AS snapshot_isolation_state, 0 AS is_read_committed_snapshot_on, 0 AS is_read_only"
    ),
    "sys.dm_exec_sessions": (
        "SELECT tds_variable('SPID') AS session_id, tds_variable('ISOLATION') AS transaction_isolation_level"
    ),
    "sys.dm_exec_connections": (
        "SELECT tds_variable('SPID') AS session_id, tds_variable('ENCRYPTED') AS encrypt_option, 'TCP' AS net_transport"
    ),
}


class FoundTable(NamedTuple):
    """Where SQLite has a table, and its columns with their declared types."""

    database: str
    name: str
    columns: dict[str, str]


class Catalog:
    """The databases of a folder, open in one session.

    Args:
        folder: Where the SQLite files are.
        connection: The session's; it has all of them attached.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self._folder = folder
        self._connection = connection
        self._attached: dict[str, str] = {}

    def attach(self, database: str) -> str:
        """Make a database usable in this session.

        Returns:
            Its name as it was created.

        Raises:
            SqlError: There is none of that name.
        """
        known = self._attached.get(database.lower())
        if known is not None and self._path(known).exists():
            return known
        found = next((each for each in self._folder.glob(f"*{SUFFIX}") if each.stem.lower() == database.lower()), None)
        if found is None:
            raise SqlError(
                NO_SUCH_DATABASE, f"Database '{database}' does not exist. Make sure that the name is entered correctly."
            )
        self._connection.execute(f"ATTACH DATABASE ? AS {quote(found.stem)}", (str(found),))
        self._attached[database.lower()] = found.stem
        for view, definition in VIEWS.items():
            text = definition.format(db=quote(found.stem), name="'" + found.stem.replace("'", "''") + "'")
            self._connection.execute(f"CREATE TEMP VIEW {quote(f'{found.stem}.{view}')} AS {text}")
        return found.stem

    def find(self, database: str, schema: str, name: str) -> FoundTable:
        """Find a table or one of the server's own views.

        Raises:
            SqlError: There is none of that name.
        """
        database = self.attach(database)
        if schema.lower() in ("information_schema", "sys"):
            place, full_name = "temp", f"{database}.{schema}.{name}"
        else:
            place, full_name = database, self.table_name(schema, name)
        described = self._connection.execute(f"PRAGMA {quote(place)}.table_info({quote(full_name)})").fetchall()
        if not described:
            raise SqlError(INVALID_OBJECT, f"Invalid object name '{schema}.{name}'.")
        return FoundTable(place, full_name, {column[1]: column[2] for column in described})

    @staticmethod
    def table_name(schema: str, name: str) -> str:
        """Give the name that a table has in its SQLite file."""
        return name if schema.lower() == DEFAULT_SCHEMA else f"{schema}.{name}"

    def create(self, database: str) -> None:
        """Create a database.

        Raises:
            SqlError: There is one already.
        """
        if self._path(database).exists():
            raise SqlError(DATABASE_EXISTS, f"Database '{database}' already exists. Choose a different database name.")
        sqlite3.connect(self._path(database)).close()

    def drop(self, database: str) -> None:
        """Drop a database.

        Raises:
            SqlError: There is none of that name.
        """
        name = self.attach(database)
        for view in VIEWS:
            self._connection.execute(f"DROP VIEW temp.{quote(f'{name}.{view}')}")
        self._connection.execute(f"DETACH DATABASE {quote(name)}")
        del self._attached[database.lower()]
        self._path(name).unlink()

    def _path(self, database: str) -> Path:
        return self._folder / f"{database}{SUFFIX}"


def quote(name: str) -> str:
    """Quote a name for SQLite."""
    return '"' + name.replace('"', '""') + '"'
