"""A Prefect worker, stock or warm, as a child process."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psutil

from settings import REPOSITORY
from tests.servers.forked_program import ForkedProgram, find_fork_server


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
    program = [*kind, "--pool", pool]
    variables = dict(environment) | {"PREFECT_WORKER_QUERY_SECONDS": "2"}
    with log.open("wb") as output:
        process = _start(program, variables, output)
    try:
        yield
    finally:
        with contextlib.suppress(psutil.NoSuchProcess):
            parent = psutil.Process(process.pid)
            for each in (*parent.children(recursive=True), parent):
                with contextlib.suppress(psutil.NoSuchProcess):
                    each.kill()
        process.wait(30)


def _start(
    program: Sequence[str], environment: Mapping[str, str], output: IO[bytes]
) -> subprocess.Popen[bytes] | ForkedProgram:
    fork_server = find_fork_server()
    if fork_server is not None:
        return fork_server.start(program, environment, output)
    command = [sys.executable, "-m", *program]
    return subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=output, stderr=subprocess.STDOUT)
