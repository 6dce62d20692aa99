"""Application databases that are migrated once and then given to one test after another, each time as if they were new.

Migrating an empty database takes longer than most tests. What the migrations do is tested with empty databases
(`tests/integration/test_migrations.py`); every other test gets what they made.
"""

import asyncio
import re
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
from sqlalchemy import URL, make_url

from db import migrate
from db.engines import Database
from tests.servers import MariaDBServer


def make_database(url: URL | str) -> None:
    """Migrate an empty database with the migrations themselves."""
    database = Database("the application database", "MARIA_DATABASE_URL", lambda: make_url(url), writes=True)
    # A loop of its own that is nobody's current one: the test may be about to run on another.
    with asyncio.Runner(loop_factory=asyncio.new_event_loop) as runner:
        runner.run(migrate.upgrade(database))


def copy_file(migrated: Path, database: Database) -> None:
    """Write a migrated SQLite file to where a database has its own, which must not be there yet."""
    path = Path(str(database.url.database))
    assert not path.exists(), f"{path} is no new database: call migrate.upgrade"
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(migrated, path)


@dataclass(frozen=True)
class _Table:
    """A table as it is: its definition, which tells the next number it gives too, and the checksum of its rows."""

    definition: str
    checksum: int


class MigratedDatabases:
    """Migrated databases of one MariaDB server: lent, taken back, put in order.

    Args:
        server: The server.
    """

    def __init__(self, server: MariaDBServer) -> None:
        self._server = server
        self._free: list[str] = []
        # How the migrations left each database, and the rows that they wrote.
        self._tables: dict[str, dict[str, _Table]] = {}
        self._rows: dict[str, dict[str, list[tuple[Any, ...]]]] = {}

    def lend(self) -> str:
        """Give the name of a database that is as the migrations leave an empty one."""
        return self._free.pop() if self._free else self._make()

    def take_back(self, name: str) -> None:
        """Have a database used again; one whose tables are no longer those of the migrations is dropped instead.

        Args:
            name: What `lend` gave.
        """
        with self._cursor(name) as cursor:
            is_as_new = self._put_in_order(name, cursor)
        if is_as_new:
            self._free.append(name)
        else:
            self._server.drop_database(name)

    def _put_in_order(self, name: str, cursor: Any) -> bool:
        """Empty what was written to, and write the migrations' rows again; tells whether all is as it was then."""
        before, after = self._tables[name], _read_tables(cursor)
        if _without_numbers(after) != _without_numbers(before):
            return False
        changed = [table for table in before if after[table] != before[table]]
        cursor.execute("SET SESSION foreign_key_checks = 0")
        for table in changed:
            cursor.execute(f"TRUNCATE TABLE `{table}`")
            rows = self._rows[name].get(table)
            if rows:
                places = ", ".join(["%s"] * len(rows[0]))
                cursor.executemany(f"INSERT INTO `{table}` VALUES ({places})", rows)
        return not changed or _read_tables(cursor) == before

    def _make(self) -> str:
        name = self._server.create_database()
        make_database(self._server.url(name))
        with self._cursor(name) as cursor:
            self._tables[name] = _read_tables(cursor)
            self._rows[name] = {}
            for table, state in self._tables[name].items():
                if state.checksum:
                    cursor.execute(f"SELECT * FROM `{table}`")
                    self._rows[name][table] = list(cursor.fetchall())
        return name

    @contextmanager
    def _cursor(self, database: str) -> Iterator[Any]:
        connection = pymysql.connect(
            host="127.0.0.1", port=self._server.port, user="root", database=database, charset="utf8mb4", autocommit=True
        )
        with closing(connection), connection.cursor() as cursor:
            yield cursor


def _read_tables(cursor: Any) -> dict[str, _Table]:
    cursor.execute("SHOW TABLES")
    names = [row[0] for row in cursor.fetchall()]
    cursor.execute("CHECKSUM TABLE " + ", ".join(f"`{name}`" for name in names))
    checksums = [row[1] for row in cursor.fetchall()]
    tables = {}
    for name, checksum in zip(names, checksums, strict=True):
        cursor.execute(f"SHOW CREATE TABLE `{name}`")
        tables[name] = _Table(cursor.fetchall()[0][1], checksum)
    return tables


def _without_numbers(tables: dict[str, _Table]) -> dict[str, str]:
    return {name: re.sub(r" AUTO_INCREMENT=\d+", "", table.definition) for name, table in tables.items()}
