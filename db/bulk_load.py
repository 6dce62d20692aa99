"""Loading many rows into a table as fast as the database takes them."""

import asyncio
import re
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Insert, NullPool, Table, insert
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
        self._names = [column.name for column in table.columns if column.server_default is None]
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

    async def write(self, columns: Sequence[Sequence[Any]]) -> None:
        """Write rows, given by columns: a sequence for each of the table's that has no default, all of one length."""
        if not columns or not columns[0]:
            return
        if self._loads_files:
            try:
                await self._load_file(columns)
            except DBAPIError as error:
                if error.orig is None or error.orig.args[:1][0] not in _NOT_PERMITTED:
                    raise
                await self._connection.rollback()
                self._loads_files = False
            else:
                return
        await self._insert(list(zip(*columns, strict=True)))

    async def _load_file(self, columns: Sequence[Sequence[Any]]) -> None:
        with tempfile.TemporaryDirectory(prefix="hr-flows-") as folder:
            path = Path(folder) / "rows.tsv"
            await asyncio.to_thread(_write_file, path, columns)
            quote = self._connection.dialect.identifier_preparer.quote
            names = ", ".join(quote(name) for name in self._names)
            await self._connection.exec_driver_sql(
                f"LOAD DATA LOCAL INFILE '{path}' INTO TABLE {quote(self._table.name)} CHARACTER SET utf8mb4 "
                f"FIELDS TERMINATED BY '\\t' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' ({names})"
            )
            await self._connection.commit()

    async def _insert(self, rows: list[tuple[Any, ...]]) -> None:
        statement = str(insert(self._table).compile(dialect=self._connection.dialect, column_keys=self._names))
        await self._connection.exec_driver_sql(statement, rows)
        await self._connection.commit()


async def insert_with_known_parents(connection: AsyncConnection, statement: Insert) -> None:
    """Insert many rows whose foreign keys are known to hold: MariaDB does not look each of them up again.

    Args:
        connection: The transaction; it must hold a lock on the rows that are referred to.
        statement: `INSERT ... SELECT`.
    """
    if connection.dialect.name != "mysql":
        await connection.execute(statement)
        return
    compiled = statement.compile(dialect=connection.dialect)
    values = compiled.construct_params()
    in_order = tuple(values[name] for name in compiled.positiontup or ())
    # `unique_checks` stays on: without it MariaDB builds an empty table's indexes in bulk, and when two rows share a
    # key it ends up with none and raises no error (seen with 10.11).
    await connection.exec_driver_sql(f"SET STATEMENT foreign_key_checks = 0 FOR {compiled}", in_order)


def _write_file(path: Path, columns: Sequence[Sequence[Any]]) -> None:
    fields = [_to_fields(values) for values in columns]
    lines = map("\t".join, zip(*fields, strict=True))
    path.write_bytes(("\n".join(lines) + "\n").encode())


def _to_fields(values: Sequence[Any]) -> Iterable[str]:
    """Turn a column into the texts that LOAD DATA takes; most are alike throughout, which one look tells."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return map(str, values)
    if kinds <= {str, type(None)}:
        text = "".join(filter(None, values))
        # Of what has to be escaped the backslash alone prints.
        if text.isprintable() and "\\" not in text:
            return ["\\N" if value is None else value for value in values] if type(None) in kinds else values
    return [_to_field(value) for value in values]


def _to_field(value: Any) -> str:
    if value is None:
        return "\\N"
    if isinstance(value, str):
        return value.translate(_ESCAPES) if _find_special(value) else value
    return str(int(value) if isinstance(value, bool) else value)
