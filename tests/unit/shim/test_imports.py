"""Importing the tasks costs callers little more than importing Celery."""

import statistics
import subprocess
import sys

from tests.integration.shim.system import REPOSITORY

BARE = "import celery; app = celery.Celery('bare', broker='redis://localhost'); celery.shared_task(lambda: None)"
OURS = "import tasks.hris"
ROUNDS = 7


def seconds(statement: str) -> float:
    """Give the processor time of a statement in a fresh interpreter."""
    program = f"import time; began = time.process_time()\n{statement}\nprint(time.process_time() - began)"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return float(done.stdout)


def test_importing_a_task_costs_at_most_a_third_more_than_a_bare_celery_application() -> None:
    ratios = [seconds(OURS) / seconds(BARE) for _ in range(ROUNDS)]
    assert statistics.median(ratios) <= 1.3


def test_importing_the_tasks_loads_nothing_of_the_suite_behind_them() -> None:
    program = "import sys, celery_app, celery_bridge, shim, tasks.hris; print(sorted(sys.modules))"
    done = subprocess.run([sys.executable, "-c", program], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    packages = {name.partition(".")[0] for name in eval(done.stdout)}  # noqa: S307
    assert (
        packages & {"prefect", "sqlalchemy", "pydantic", "db", "hr", "flows", "api", "utils", "settings", "errors"}
        == set()
    )
