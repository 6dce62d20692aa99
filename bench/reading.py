"""One reading of a SQL Server's employees in a process of its own, so that the memory that it took is its own.

`read(how, url, ...)` starts `python -m bench.reading`, which reads with the suite's reader or with a bare cursor and
prints what it found as JSON.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from bench.measured import REPOSITORY, BenchError

How = Literal["suite", "pyodbc"]
# How often the event loop is looked at, in seconds: seldom enough to take no time from the reader.
TICK = 0.005


def read(how: How, url: str, *, mapping: Path, chunk_rows: int, folder: Path) -> dict[str, Any]:
    """Read all employees once in a new process.

    Args:
        how: With the suite's reader, or with a bare cursor of pyodbc on the same driver.
        url: The HRIS, as its setting takes it.
        mapping: Which tables and columns hold what.
        chunk_rows: Rows at a time, for both.
        folder: For what the driver needs to be told in files.

    Returns:
        `rows`, `seconds`, `cpu_seconds`, `peak_mb_above_start` and, of the suite, `max_loop_block_ms`.

    Raises:
        BenchError: The process failed; the message holds the end of its output.
    """
    arguments = {"how": how, "mapping": str(mapping), "chunk_rows": chunk_rows}
    done = subprocess.run(
        [sys.executable, "-m", "bench.reading", json.dumps(arguments)],
        cwd=REPOSITORY,
        env={"HRIS_DATABASE_URL": url, "DATA_DIR": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"reading with {how} failed with status {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


class LoopWatch:
    """Notes the longest time for which the event loop did nothing else than one thing."""

    def __init__(self) -> None:
        self.longest = 0.0
        self._task: asyncio.Task[None] | None = None

    async def _watch(self) -> None:
        before = time.perf_counter()
        while True:
            await asyncio.sleep(TICK)
            now = time.perf_counter()
            self.longest = max(self.longest, now - before - TICK)
            before = now

    async def __aenter__(self) -> "LoopWatch":
        self._task = asyncio.create_task(self._watch())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])


async def _read_with_suite(mapping: Path, chunk_rows: int, note: Callable[[], None]) -> dict[str, Any]:
    from db import hris_database
    from hr.mapping import load_mapping
    from hr.source import Source

    source = Source(hris_database.database, load_mapping(mapping))
    # The first connection asks the server for its version and more, once a process.
    async with hris_database.database.engine().connect():
        pass
    note()
    async with LoopWatch() as watch:
        started, started_cpu = time.perf_counter(), time.process_time()
        rows = 0
        async for chunk in source.read("employee", chunk_rows):
            rows += len(chunk)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    await hris_database.database.dispose()
    return {"rows": rows, "seconds": seconds, "cpu_seconds": cpu_seconds, "max_loop_block_ms": watch.longest * 1000}


async def _read_with_pyodbc(mapping: Path, chunk_rows: int, note: Callable[[], None]) -> dict[str, Any]:
    """Read without anything of the suite's between the cursor and this loop; it may block, nothing else runs."""
    import pyodbc
    from sqlalchemy.dialects.mssql.pyodbc import MSDialect_pyodbc

    from db import hris_database
    from db.sql_server import make_connector
    from hr.mapping import load_mapping
    from hr.source import Source
    from settings import get_settings

    database = hris_database.database
    compiled = (
        Source(database, load_mapping(mapping))
        .statement("employee", "mssql")
        .compile(dialect=MSDialect_pyodbc(paramstyle="qmark"), compile_kwargs={"render_postcompile": True})  # type: ignore[no-untyped-call]
    )
    values = [compiled.params[name] for name in compiled.positiontup or ()]
    connector = make_connector(database.name, database.setting, database.url, get_settings())
    with pyodbc.connect(connector.connection_string) as connection:
        note()
        started, started_cpu = time.perf_counter(), time.process_time()
        rows = 0
        cursor = connection.execute(str(compiled), *values)
        while chunk := cursor.fetchmany(chunk_rows):
            rows += len(chunk)
        seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - started_cpu
    return {"rows": rows, "seconds": seconds, "cpu_seconds": cpu_seconds}


def _memory_mb(field: str) -> float:
    status = Path("/proc/self/status").read_text()
    return int(status.partition(f"{field}:")[2].split()[0]) / 1024


def _main() -> None:
    arguments = json.loads(sys.argv[1])
    function = _read_with_suite if arguments["how"] == "suite" else _read_with_pyodbc
    at_start = 0.0

    def note() -> None:
        nonlocal at_start
        at_start = _memory_mb("VmRSS")

    found = asyncio.run(function(Path(arguments["mapping"]), arguments["chunk_rows"], note))
    print(json.dumps(found | {"peak_mb_above_start": _memory_mb("VmHWM") - at_start}))


if __name__ == "__main__":
    _main()
