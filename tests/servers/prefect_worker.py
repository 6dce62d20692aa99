"""A Prefect worker, stock or warm, as a child process."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from settings import REPOSITORY


@contextmanager
def prefect_worker(pool: str, environment: Mapping[str, str], log: Path, *, is_stock: bool = False) -> Iterator[None]:
    """Run a worker of a process work pool; it and the runs that it started are killed at the end.

    Args:
        pool: The work pool.
        environment: The worker's whole environment, which its runs inherit.
        log: File that gets its output.
        is_stock: Run Prefect's own process worker instead of this project's.
    """
    kind = ["prefect", "worker", "start", "--type", "process"] if is_stock else ["workers"]
    command = [sys.executable, "-m", *kind, "--pool", pool]
    polls = {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=dict(environment) | polls, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield
    finally:
        parent = psutil.Process(process.pid)
        for each in (*parent.children(recursive=True), parent):
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        process.wait(30)
