"""Loading many rows into a table as fast as the database takes them."""

import asyncio
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import NullPool, Table, insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from db.engines import CONNECT_TIMEOUT, Database

# MariaDB's refusals of LOAD DATA LOCAL: the server, or the account's host, does not permit it.
_NOT_PERMITTED = {1148, 3948, 4166}
_find_special = re.compile(r"[\\\t\n\r\0]").search
_ESCAPES = str.maketrans({"\\": "\\\\", "\t": "\\\t", "\n": "\\\n", "\r": "\\\r", "\0": "\\0"})


class BulkLoader:
    """Writes chunks of rows into one table, each chunk in a transaction of its own.

    On MariaDB a chunk travels as `LOAD DATA LOCAL INFILE`, about twice as fast as the driver's multi-row INSERT, which
    takes over where the server does not permit it. On SQLite it is the driver's `executemany`.

    Args:
        database: Where the table is.
        table: What is written.
    """

    def __init__(self, database: Database, table: Table) -> None:
        self._database = database
        self._table = table
        self._loads_files = database.url.get_backend_name() == "mysql"
        self._engine: AsyncEngine | None = None

    async def __aenter__(self) -> "BulkLoader":
        if self._loads_files:
            # Only this engine's connections hand files to the server when it asks for them.
            self._engine = create_async_engine(
                self._database.url,
                poolclass=NullPool,
                connect_args={"connect_timeout": CONNECT_TIMEOUT, "local_infile": True},
            )
            self._connection = await self._engine.connect()
        else:
            self._connection = await self._database.engine().connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._connection.close()
        if self._engine is not None:
            await self._engine.dispose()

    async def write(self, rows: Sequence[tuple[Any, ...]]) -> None:
        """Write rows; a row's values are in the order of the table's columns."""
        if not rows:
            return
        if self._loads_files:
            try:
                await self._load_file(rows)
            except DBAPIError as error:
                if error.orig is None or error.orig.args[:1][0] not in _NOT_PERMITTED:
                    raise
                await self._connection.rollback()
                self._loads_files = False
            else:
                return
        await self._insert(self._connection, rows)

    async def _load_file(self, rows: Sequence[tuple[Any, ...]]) -> None:
        with tempfile.TemporaryDirectory(prefix="hr-flows-") as folder:
            path = Path(folder) / "rows.tsv"
            await asyncio.to_thread(_write_file, path, rows)
            quote = self._connection.dialect.identifier_preparer.quote
            columns = ", ".join(quote(column.name) for column in self._table.columns)
            await self._connection.exec_driver_sql(
                f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {quote(self._table.name)} CHARACTER SET utf8mb4 "
                f"FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({columns})"
            )
            await self._connection.commit()

    async def _insert(self, connection: AsyncConnection, rows: Sequence[tuple[Any, ...]]) -> None:
        statement = str(insert(self._table).compile(dialect=connection.dialect))
        await connection.exec_driver_sql(statement, list(rows))
        await connection.commit()


def _write_file(path: Path, rows: Sequence[tuple[Any, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        file.writelines("\t".join([_field(value) for value in row]) + "\n" for row in rows)


def _field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES) if _find_special(value) else value
    if isinstance(value, bool):
        return "1" if value else "0"
    return str(value)
