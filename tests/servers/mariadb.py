"""A private MariaDB server."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import pymysql
from sqlalchemy import URL

from tests.servers.process import ServerError, ServerProcess, find_program, free_port, server_folder

PACKAGE = "mariadb-server"
ACCOUNT = "hr"
PASSWORD = "p@ss:w/rd%"  # noqa: S105  (every character that a URL must escape)
# A crash of the machine may lose data, a kill of the server does not: its log is written, only not forced to disk.
QUICK_OPTIONS = (
    "--innodb-flush-log-at-trx-commit=2",
    "--innodb-flush-method=nosync",
    "--innodb-doublewrite=0",
    # Nearly every test makes and drops all tables: without a file for each that takes two thirds of the time.
    "--innodb-file-per-table=0",
)


class MariaDBServer(ServerProcess):
    """A MariaDB server with an account that may do everything from 127.0.0.1."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self.port = free_port()
        super().__init__(
            "MariaDB",
            [
                find_program("mariadbd", PACKAGE),
                "--no-defaults",
                f"--datadir={folder / 'data'}",
                f"--port={self.port}",
                "--bind-address=127.0.0.1",
                "--socket=mariadb.sock",
                f"--pid-file={folder / 'mariadb.pid'}",
                "--skip-name-resolve",
                "--character-set-server=utf8mb4",
                "--local-infile=1",
                *_run_as_root(),
                *options,
            ],
            log=folder / "mariadb.log",
            is_ready=self._answers,
        )

    def url(self, database: str = "") -> str:
        """Give the asynchronous URL of a database of this server, with its password."""
        url = URL.create(
            "mysql+aiomysql",
            ACCOUNT,
            PASSWORD,
            "127.0.0.1",
            self.port,
            database or None,
            {"charset": "utf8mb4", "local_infile": "1"},
        )
        return url.render_as_string(hide_password=False)

    def create_database(self) -> str:
        """Create an empty database with a name of its own and give the name."""
        name = f"hr_{uuid4().hex[:12]}"
        self.execute(f"CREATE DATABASE `{name}` CHARACTER SET utf8mb4")
        return name

    def drop_database(self, name: str) -> None:
        """Remove a database, also while connections still use it."""
        self.execute(f"DROP DATABASE IF EXISTS `{name}`")

    def status(self, variable: str) -> int:
        """Give one of the server's own counters, for example `Threads_connected`."""
        return int(self.execute(f"SHOW GLOBAL STATUS LIKE '{variable}'")[0][1])

    def execute(self, statement: str) -> tuple[tuple[Any, ...], ...]:
        """Run one statement as root over a connection of its own and give its rows."""
        connection = pymysql.connect(host="127.0.0.1", port=self.port, user="root", autocommit=True)
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)
            return tuple(cursor.fetchall())

    def _answers(self) -> bool:
        try:
            self.execute("SELECT 1")
        except pymysql.OperationalError:
            return False
        return True


@contextmanager
def mariadb_server(*options: str, durable: bool = False) -> Iterator[MariaDBServer]:
    """Run a private MariaDB server in a temporary folder.

    Args:
        options: Further options of `mariadbd`.
        durable: Keep the server's default writing to disk; otherwise it is told not to wait for the disk.

    Yields:
        The running server.
    """
    with server_folder("mariadb") as folder:
        _install(folder / "data")
        with MariaDBServer(folder, (*(() if durable else QUICK_OPTIONS), *options)) as server:
            server.execute(f"CREATE USER {ACCOUNT}@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'")
            server.execute(f"GRANT ALL ON *.* TO {ACCOUNT}@'127.0.0.1'")
            yield server


def _install(data: Path) -> None:
    command = [
        find_program("mariadb-install-db", PACKAGE),
        "--no-defaults",
        f"--datadir={data}",
        "--auth-root-authentication-method=normal",
        "--skip-test-db",
        *_run_as_root(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerError(f"mariadb-install-db failed in {data}:\n{done.stdout}\n{done.stderr}")


def _run_as_root() -> list[str]:
    # MariaDB refuses to run as root unless told to.
    return ["--user=root"] if os.geteuid() == 0 else []
