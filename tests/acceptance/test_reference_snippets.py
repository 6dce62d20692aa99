"""The reference's two test snippets, and eager mode with nothing running."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from demo.sample_hris import HrisShape, write_sample_hris
from tests.integration.shim.system import REPOSITORY, System
from tests.servers import PrefectServer, RedisServer
from tests.servers.prefect import DATABASE_NAME, copy_prepared_database
from tests.waiting import LIMIT

pytestmark = pytest.mark.timeout(400)

DIRECT = """
# Direct execution (no Celery)
from tests.integration.shim.sample_tasks import echo as my_task

result = my_task.apply(args=["arg1"]).get()
print(result)
"""

ASYNCHRONOUS = """
# Async execution
from tests.integration.shim.sample_tasks import echo as my_task

result = my_task.delay("arg1")
print(result.get(timeout=30))  # Wait for result
"""

REPLICATION = """
from tasks.hris import hris_replication_task

print(hris_replication_task.apply().get()["status"])
print(hris_replication_task.delay().get()["entities"]["employee"]["inserted"])
"""

LIGHT = """
import sys
from tasks.hris import hris_replication_task
from celery.result import AsyncResult

result = hris_replication_task.delay(execution_id="e1")
assert AsyncResult(result.id).state == "PENDING"
heavy = {"prefect", "sqlalchemy", "aiomysql", "aioodbc", "pyodbc", "aiosqlite"}
print(sorted(heavy & {name.partition(".")[0] for name in sys.modules}))
print(sorted({"db", "hr", "flows", "api", "utils", "settings", "errors", "deployments"} & set(sys.modules)))
"""


def run(program: str, folder: Path, **variables: str) -> list[str]:
    """Run a program as a caller's process would: with Celery's variables only."""
    inherited = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={
            **inherited,
            "PYTHONPATH": str(REPOSITORY),
            "EFFECTS_DATABASE": str(folder / "effects.sqlite3"),
            **variables,
        },
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer, prefect_server: PrefectServer
) -> System:
    made = System(tmp_path_factory.mktemp("snippets"), redis_server, prefect_server)
    made.deploy()
    return made


def test_direct_execution_needs_nothing(tmp_path: Path) -> None:
    assert run(DIRECT, tmp_path) == ["arg1"]


def test_asynchronous_execution_through_workers(system: System, tmp_path: Path) -> None:
    caller = {"CELERY_BROKER_URL": system.redis.url(), "CELERY_RESULT_BACKEND": system.redis.url()}
    with system.flow_worker(), system.celery_worker("snippet", pool="gevent"):
        system.app.send_task("tests.integration.shim.sample_tasks.add", (1, 2)).get(timeout=LIMIT)
        assert run(ASYNCHRONOUS, tmp_path, **caller) == ["arg1"]


def test_the_replication_runs_eagerly_with_nothing_running(tmp_path: Path) -> None:
    write_sample_hris(tmp_path / "hris.sqlite3", HrisShape(people=300))
    variables = {"DATA_DIR": str(tmp_path), "PREFECT_HOME": str(tmp_path / "prefect")}
    inherited = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), **variables}
    # As it is from the second call on: the first one's server spends half a minute on its migrations.
    (tmp_path / "prefect").mkdir()
    copy_prepared_database(tmp_path / "prefect" / DATABASE_NAME)
    subprocess.run([sys.executable, "-m", "db", "migrate"], env=inherited, check=True, capture_output=True, timeout=120)

    printed = run(REPLICATION, tmp_path, CELERY_TASK_ALWAYS_EAGER="true", **variables)
    assert printed[-2:] == ["success", "0"]


def test_callers_load_neither_prefect_nor_a_database(redis_server: RedisServer, tmp_path: Path) -> None:
    for name in ("db", "api", "utils"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise AssertionError('a caller's own package was imported')")
    (tmp_path / "settings.py").write_text("raise AssertionError")

    assert run(LIGHT, tmp_path, CELERY_BROKER_URL=redis_server.url(5)) == ["[]", "[]"]
