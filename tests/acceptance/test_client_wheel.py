"""The wheel for callers: what it holds, and that a web application with packages of its own can send with it."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from redis import Redis

from client.__main__ import REPOSITORY, build_wheel
from tests.servers import RedisServer

CALLER = """
import sys
import api, db, settings, utils
from tasks.hris import hris_replication_task
result = hris_replication_task.delay(execution_id="7f")
print(result.id, result.state, sorted({name.partition(".")[0] for name in sys.modules}), sep="\\n")
print(*{module.__file__ for module in (api, db, settings, utils)}, sep="\\n")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_wheel(tmp_path_factory.mktemp("dist"))


def test_the_wheel_holds_what_callers_need_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as opened:
        files = {name for name in opened.namelist() if ".dist-info/" not in name}
    expected = {"celery_app.py", "celery_bridge.py"}
    for package in ("shim", "tasks"):
        expected |= {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / package).rglob("*.py")}
    assert files == expected


def test_a_web_application_with_packages_of_the_same_names_sends_a_task(
    wheel: Path, redis_server: RedisServer, tmp_path: Path
) -> None:
    site, application = tmp_path / "site", tmp_path / "application"
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    application.mkdir()
    for name in ("api", "db", "settings", "utils"):
        (application / f"{name}.py").write_text("", encoding="utf-8")
    (application / "caller.py").write_text(CALLER, encoding="utf-8")
    url = redis_server.url(3)
    done = subprocess.run(
        [sys.executable, "caller.py"],
        cwd=application,
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(site),
            "CELERY_BROKER_URL": url,
            "CELERY_RESULT_BACKEND": url,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    task_id, state, modules, *files = done.stdout.splitlines()
    assert state == "PENDING"
    assert "prefect" not in modules
    assert "sqlalchemy" not in modules
    assert {Path(file).parent for file in files} == {application}
    with Redis.from_url(url) as queue:
        (message,) = [json.loads(body) for body in queue.lrange("celery", 0, -1)]
    assert message["headers"]["task"] == "tasks.hris.hris_replication_task"
    assert message["headers"]["id"] == task_id
