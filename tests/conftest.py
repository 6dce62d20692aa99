"""Fixtures for all tests: settings of their own, and real servers that are started when the first test asks for one."""

import gc
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]

from db import maria_database
from db.engines import Database
from settings import Settings, get_settings
from tests import servers
from tests.migrated_databases import MigratedDatabases, copy_file, make_database
from tests.servers.forked_program import run_fork_server, use_fork_server
from tests.servers.process import server_folder
from tests.servers.tds import TdsServer, tds_server

# Tests that share servers and workers stay in one process; the longest groups and modules begin first, in this order,
# so that no process is left with one of them at the end.
GROUPS = {
    "flows": ("integration/flows/",),
    "shim": ("integration/shim/",),
    "lost machines": ("integration/workers/test_lost_machines",),
    "chaos": ("acceptance/test_chaos",),
    "mail and callers": ("integration/mail/", "acceptance/test_reference"),
    "workers": (
        "integration/workers/test_bad_input",
        "integration/workers/test_lasting_runs",
        "integration/workers/test_limits",
        "integration/workers/test_runs",
    ),
    "demo": ("acceptance/test_demo",),
    "sql server": ("integration/sqlserver/", "integration/test_sql_server"),
    "deployments": (
        "integration/schedules/",
        "integration/test_deploy",
        "integration/test_doctor",
        "integration/test_local_system",
        "acceptance/test_prefect_ui",
        "sqlserver/",
    ),
    "lost runs": ("integration/workers/test_lost_runs", "integration/workers/test_stopping"),
}


class ByServers(LoadScopeScheduling):  # type: ignore[misc]  # pytest-xdist's class is untyped
    """Gives the tests of one group, or else of one module, to the same process, one after another."""

    def _split_scope(self, nodeid: str) -> str:
        for group, places in GROUPS.items():
            if any(f"tests/{place}" in nodeid for place in places):
                return group
        return nodeid.partition("::")[0]

    def _assign_work_unit(self, node: Any) -> None:
        longest = next((group for group in GROUPS if group in self.workqueue), None)
        if longest is not None:
            self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> ByServers:
    """Distribute tests so that few servers are started; pytest-xdist's own groups need another pytest."""
    return ByServers(config, log)


FORK_SERVER = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Run one fork server for all test processes."""
    running = ExitStack()
    config.add_cleanup(running.close)
    if hasattr(config, "workerinput"):
        address = config.workerinput["fork_server"]
    else:
        address = str(running.enter_context(server_folder("fork")) / "socket")
        running.enter_context(run_fork_server(Path(address)))
        config.stash[FORK_SERVER] = address
    running.enter_context(use_fork_server(address))


def pytest_configure_node(node: Any) -> None:
    """Tell a test process of pytest-xdist where the fork server is."""
    node.workerinput["fork_server"] = node.config.stash[FORK_SERVER]


def pytest_collection_finish() -> None:
    """Spare the garbage collector what importing the tests made; from now on it looks at what they make."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def settings_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Keep the developer's environment, `.env` and data away from every test.

    Gives a function that sets environment variables, `set_environment(SITE_TIMEZONE="UTC")`; the settings are then
    read again.
    """
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.setitem(Settings.model_config, "env_file", tmp_path / ".env")

    def set_environment(**variables: object) -> None:
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        get_settings.cache_clear()

    set_environment(DATA_DIR=tmp_path / "data")
    yield set_environment
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def mariadb_server() -> Iterator[servers.MariaDBServer]:
    """A private MariaDB server for this test process."""
    with servers.mariadb_server() as server:
        yield server


@pytest.fixture
def mariadb_url(mariadb_server: servers.MariaDBServer) -> Iterator[str]:
    """The URL of a new, empty database on the private MariaDB server, dropped after the test."""
    name = mariadb_server.create_database()
    yield mariadb_server.url(name)
    mariadb_server.drop_database(name)


@pytest.fixture(scope="session")
def migrated_databases(mariadb_server: servers.MariaDBServer) -> MigratedDatabases:
    """The migrated databases of the private MariaDB server."""
    return MigratedDatabases(mariadb_server)


@pytest.fixture
def migrated_mariadb_url(mariadb_server: servers.MariaDBServer, migrated_databases: MigratedDatabases) -> Iterator[str]:
    """The URL of an application database on the private MariaDB server that is as new, with its tables."""
    name = migrated_databases.lend()
    yield mariadb_server.url(name)
    migrated_databases.take_back(name)


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application database as SQLite file with its tables, to be copied."""
    path = tmp_path_factory.mktemp("migrated") / "app.sqlite3"
    make_database(f"sqlite+aiosqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def redis_server() -> Iterator[servers.RedisServer]:
    """A private Redis server for this test process."""
    with servers.redis_server() as server:
        yield server


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[servers.PrefectServer]:
    """A private Prefect server on SQLite for this test process; it is shared, so tests look only at what they made."""
    from workers.warm_up import share_ssl_contexts

    # To read all certificates, as each client does, takes longer than most of what it asks.
    share_ssl_contexts()
    with servers.prefect_server() as server:
        yield server


@pytest.fixture(scope="session")
def sql_server() -> Iterator[TdsServer]:
    """A private TDS endpoint for this test process; it is shared, so tests make databases of their own."""
    with tds_server() as server:
        yield server


@pytest.fixture
def prefect_api(prefect_server: servers.PrefectServer) -> Iterator[str]:
    """Point Prefect in this process, and in processes that it starts, to the private server; gives its address."""
    with prefect_server.in_use() as address:
        yield address


@pytest.fixture(params=["sqlite", "mariadb"])
def app_database_url(request: pytest.FixtureRequest, tmp_path: Path, settings_environment: Callable[..., None]) -> str:
    """The URL of an empty application database, once on SQLite and once on MariaDB; the settings name it.

    With `app_database` it has its tables.
    """
    if request.param == "mariadb":
        is_migrated = "app_database" in request.fixturenames
        url: str = request.getfixturevalue("migrated_mariadb_url" if is_migrated else "mariadb_url")
    else:
        url = f"sqlite+aiosqlite:///{tmp_path / 'app.sqlite3'}"
    settings_environment(MARIA_DATABASE_URL=url)
    return url


@pytest.fixture
async def app_database(app_database_url: str, migrated_file: Path) -> AsyncIterator[Database]:
    """The application database, migrated, once on SQLite and once on MariaDB; `db.maria_database` is the same one."""
    if maria_database.database.url.get_backend_name() == "sqlite":
        copy_file(migrated_file, maria_database.database)
    yield maria_database.database
    await maria_database.database.dispose()


@pytest.fixture
async def embedded(migrated_file: Path) -> AsyncIterator[Database]:
    """The application database as it is when nothing is configured, migrated."""
    copy_file(migrated_file, maria_database.database)
    yield maria_database.database
    await maria_database.database.dispose()
