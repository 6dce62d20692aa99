"""A private Prefect server."""

import fcntl
import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from settings import REPOSITORY
from tests.servers.process import ServerProcess, free_port, server_folder

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.settings import Settings

# What a new server writes into its database takes longer than the rest of its start: the environment keeps what the
# first one has written.
DATABASE_NAME = "prefect.db"
PREPARED = Path(sys.prefix) / "prefect-server" / f"{version('prefect')}-prepared.db"
IS_PREPARED = {
    "PREFECT_SERVER_DATABASE_MIGRATE_ON_START": "false",
    "PREFECT_API_BLOCKS_REGISTER_ON_START": "false",
}


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
            copy_prepared_database(self.home / DATABASE_NAME)
            server |= IS_PREPARED
        else:
            server["PREFECT_SERVER_DATABASE_CONNECTION_URL"] = database_url
        super().__init__(
            "the Prefect server",
            [sys.executable, "-m", "demo.prefect_server", "--host", "127.0.0.1", "--port", str(self.port)],
            log=folder / "prefect-server.log",
            is_ready=self._answers,
            environment=self.environment() | {"PYTHONPATH": str(REPOSITORY)} | server | settings,
            start_limit=120,
            # The fork server has read settings of the server's services already.
            is_forked=not settings,
        )
        self._settings: Settings | None = None
        self._client: SyncPrefectClient | None = None
        self._to_close = ExitStack()

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
        from prefect.context import SettingsContext, get_settings_context
        from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

        before = get_settings_context()
        if self._settings is None:
            # Kept, because it takes as long as a question to the server.
            with temporary_settings({PREFECT_API_URL: self.api_url, PREFECT_HOME: self.home}) as changed:
                self._settings = changed
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("PREFECT_API_URL", self.api_url)
            environment.setenv("PREFECT_HOME", str(self.home))
            with SettingsContext(profile=before.profile, settings=self._settings):
                yield self.api_url

    @contextmanager
    def client(self) -> Iterator["SyncPrefectClient"]:
        """Give this process's client of the server, kept: to make one takes longer than what it is mostly asked."""
        from prefect.client.orchestration import get_client
        from prefect.settings import PREFECT_API_URL, temporary_settings

        if self._client is None:
            with temporary_settings({PREFECT_API_URL: self.api_url}):
                self._client = self._to_close.enter_context(get_client(sync_client=True))
        yield self._client

    def kill(self) -> None:
        """End the server at once, and this process's connections to it."""
        self._client = None
        self._to_close.close()
        super().kill()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.api_url}/health", timeout=5, trust_env=False).is_success
        except httpx.TransportError:
            return False


def copy_prepared_database(path: Path) -> None:
    """Write the database of a Prefect server on SQLite as it is after the first start: migrated, with Prefect's blocks.

    Args:
        path: Where.
    """
    PREPARED.parent.mkdir(exist_ok=True)
    with (PREPARED.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not PREPARED.exists():
            _prepare()
    shutil.copyfile(PREPARED, path)


def _prepare() -> None:
    with server_folder("prefect") as folder:
        url = f"sqlite+aiosqlite:///{folder / DATABASE_NAME}"
        with PrefectServer(folder, url, {}):
            pass
        made = folder / "made.db"
        # What stands in the log of SQLite is not in its file yet.
        with closing(sqlite3.connect(folder / DATABASE_NAME)) as source, closing(sqlite3.connect(made)) as copy:
            source.backup(copy)
        shutil.copyfile(made, beside := PREPARED.with_suffix(".new"))
        beside.replace(PREPARED)


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
