"""One system for the shim's tests: Redis, Prefect, a flow worker and a Celery worker."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.shim.system import System
from tests.servers import PrefectServer, RedisServer

LOG_TAIL = 4_000


@pytest.fixture(scope="session")
def servers(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, prefect_server: PrefectServer
) -> System:
    """The servers with everything deployed, and no worker."""
    system = System(tmp_path_factory.mktemp("shim"), redis_server, prefect_server)
    system.deploy()
    return system


@pytest.fixture(scope="session")
def system(servers: System) -> Iterator[System]:
    """The servers with a flow worker and a Celery worker."""
    with servers.flow_worker(), servers.celery_worker("shared"):
        yield servers


@pytest.fixture(autouse=True)
def effects_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects of bodies that run in the test's own process."""
    monkeypatch.setenv("EFFECTS_DATABASE", str(tmp_path / "effects.sqlite3"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """Show with a failed test what the system's processes wrote last: the test itself only knows that nothing came."""
    report: pytest.TestReport = yield  # type: ignore[assignment]
    used = getattr(item, "funcargs", {})
    system = used.get("system") or used.get("servers")
    if report.failed and system is not None:
        for log in [*sorted(system.folder.glob("*.log")), system.prefect.log]:
            report.sections.append((f"end of {log.name}", log.read_text(errors="replace")[-LOG_TAIL:]))
    return report  # type: ignore[return-value]
