"""A private Prefect server."""

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from settings import REPOSITORY
from tests.servers.process import ServerProcess, free_port, server_folder

# A new server's migrations take longer than the rest of its start: the environment keeps a migrated database.
MIGRATED_NAME = "prefect.db"
MIGRATED = Path(sys.prefix) / "prefect-server" / f"{version('prefect')}.db"


class PrefectServer(ServerProcess):
    """A Prefect server with a home folder of its own.

    Args:
        folder: Where its home and its log go.
        database_url: The server's own database; default: SQLite in the home folder.
        settings: Further `PREFECT_…` variables of the server.
    """

    def __init__(self, folder: Path, database_url: str | None, settings: dict[str, str]) -> None:
        self.port = free_port()
        self.home = folder / "home"
        self.home.mkdir(exist_ok=True)
        server = {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "PREFECT_SERVER_LOGGING_LEVEL": "WARNING"}
        # The server lists all time zones for each schedule it handles: three times as fast from the package tzdata.
        server["PYTHONTZPATH"] = ""
        # A server that is slow to answer is otherwise taken as an occasion for an advertisement over the page.
        server["PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT"] = "false"
        if database_url is None:
            copy_migrated_database(self.home / MIGRATED_NAME)
        else:
            server["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url
        super().__init__(
            "the Prefect server",
            [sys.executable, "-m", "demo.prefect_server", "--host", "127.0.0.1", "--port", str(self.port)],
            log=folder / "prefect-server.log",
            is_ready=self._answers,
            environment=self.environment() | {"PYTHONPATH": str(REPOSITORY)} | server | settings,
            start_limit=120,
        )

    @property
    def api_url(self) -> str:
        """The address for `PREFECT_API_URL`."""
        return f"http://127.0.0.1:{self.port}/api"

    def environment(self) -> dict[str, str]:
        """Give the whole environment for a process that talks to this server and to no other."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        return inherited | {"PREFECT_HOME": str(self.home), "PREFECT_API_URL": self.api_url}

    @contextmanager
    def in_use(self) -> Iterator[str]:
        """Point Prefect in this process, and in processes that it starts, to this server; gives its address."""
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PREFECT_API_URL", self.api_url)
            environment.setenv("PREFECT_HOME", str(self.home))
            with temporary_settings({PREFECT_API_URL: self.api_url, PREFECT_HOME: self.home}):
                yield self.api_url

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.api_url}/health", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False


def copy_migrated_database(path: Path) -> None:
    """Write a migrated, empty database of a Prefect server on SQLite.

    Args:
        path: Where.
    """
    MIGRATED.parent.mkdir(exist_ok=True)
    with (MIGRATED.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not MIGRATED.exists():
            with tempfile.TemporaryDirectory(dir=MIGRATED.parent) as home:
                inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
                command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "-y"]
                subprocess.run(command, env=inherited | {"PREFECT_HOME": home}, check=True, capture_output=True)
                (Path(home) / MIGRATED_NAME).replace(MIGRATED)
    shutil.copyfile(MIGRATED, path)


@contextmanager
def prefect_server(database_url: str | None = None, **settings: str) -> Iterator[PrefectServer]:
    """Run a private Prefect server in a temporary folder.

    Args:
        database_url: The server's own database; default: SQLite in its home folder.
        settings: Further `PREFECT_…` variables of the server.

    Yields:
        The running server.
    """
    with server_folder("prefect") as folder, PrefectServer(folder, database_url, settings) as server:
        yield server
