"""A private PostgreSQL server, for Prefect servers that must bear many runs at once."""

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.process import ServerError, ServerProcess, find_program, free_port, launcher, server_folder

PACKAGE = "postgresql"
# PostgreSQL refuses to run as root; this is the account that Debian's package makes.
ACCOUNT = "postgres"


class PostgreSQLServer(ServerProcess):
    """A PostgreSQL server with one database, open to everyone on this machine."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        options = ["-h", "127.0.0.1", "-p", str(self.port), "-k", "", "-F"]
        super().__init__(
            "PostgreSQL",
            [_find("postgres"), "-D", str(folder / "data"), *options],
            log=folder / "postgresql.log",
            is_ready=self._answers,
            account=_account(),
        )

    @property
    def url(self) -> str:
        """The database's URL for the asynchronous driver of Prefect's server."""
        return f"postgresql+asyncpg://{ACCOUNT}@127.0.0.1:{self.port}/postgres"

    def _answers(self) -> bool:
        command = [_find("pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return subprocess.run(command, check=False).returncode == 0


@contextmanager
def postgresql_server() -> Iterator[PostgreSQLServer]:
    """Run a private PostgreSQL server in a temporary folder.

    Yields:
        The running server.
    """
    with server_folder("postgresql") as folder:
        account = _account()
        if account is not None:
            entry = pwd.getpwnam(account)
            os.chown(folder, entry.pw_uid, entry.pw_gid)
        command = [_find("initdb"), "-D", str(folder / "data"), "-U", ACCOUNT, "-A", "trust", "-N"]
        done = subprocess.run([*launcher(account), *command], capture_output=True, text=True, check=False, cwd="/")
        if done.returncode != 0:
            raise ServerError(f"initdb failed in {folder}:\n{done.stdout}\n{done.stderr}")
        with PostgreSQLServer(folder) as server:
            yield server


def _find(program: str) -> str:
    return find_program(program, PACKAGE, *(str(path) for path in Path("/usr/lib/postgresql").glob("*/bin")))


def _account() -> str | None:
    return ACCOUNT if os.geteuid() == 0 else None
