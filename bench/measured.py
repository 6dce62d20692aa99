"""One measurement in a process of its own, so that the memory that it took is its own.

`measure("replicate", ...)` starts `python -m bench.measured`, which runs one of the functions below and prints what it
found as JSON. Imports, migrations and the reading of a peer's rows are not timed.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, func, insert, make_url, select, update

from errors import SuiteError

REPOSITORY = Path(__file__).resolve().parent.parent
DLT_CHUNK_ROWS = 20_000


class BenchError(SuiteError):
    """A measurement could not be made."""


def measure(kind: str, **arguments: Any) -> dict[str, Any]:
    """Make one measurement in a new process.

    Args:
        kind: `replicate`, `row_by_row` or `dlt`.
        arguments: Those of the function.

    Returns:
        What the function returned, and `peak_mb`, the largest resident memory of the process.

    Raises:
        BenchError: The process failed; the message holds the end of its output.
    """
    # The settings must be those of the measurement, whatever this process was given.
    settings = ("PREFECT_", "MARIA_", "HRIS_", "BIOSTAR_", "REPLICATION_")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(settings)}
    if kind == "replicate":
        environment["MARIA_DATABASE_URL"] = arguments["target"]
        environment["HRIS_DATABASE_URL"] = f"sqlite:///{arguments['source']}"
    done = subprocess.run(
        [sys.executable, "-m", "bench.measured", kind, json.dumps(arguments)],
        cwd=REPOSITORY,
        env=environment | {"RUNTIME__DLTHUB_TELEMETRY": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise BenchError(f"the measurement {kind!r} failed with status {done.returncode}:\n{done.stderr[-3000:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


async def _replicate(target: str, source: str) -> dict[str, Any]:
    """Replicate the HRIS `source` into the application database `target`, as a run of the flow does."""
    from db import maria_database
    from db.migrate import upgrade
    from hr.replication import plan_replication, replicate
    from settings import get_settings

    await upgrade(maria_database.database)
    replication = plan_replication(get_settings())
    started = staged = time.perf_counter()
    started_cpu = time.process_time()

    async def note_progress(_entity: str, _rows: int) -> None:
        nonlocal staged
        staged = time.perf_counter()

    report = await replicate(replication, note_progress)
    seconds = time.perf_counter() - started
    counts = report.entities["employee"]
    return {
        "seconds": seconds,
        "staging_seconds": staged - started,
        "cpu_seconds": time.process_time() - started_cpu,
        "employees": counts.inserted + counts.unchanged,
        "written": report.written,
    }


async def _row_by_row(origin: str, target: str, rows: int) -> dict[str, Any]:
    """Write the first employees of the database `origin` to `target`: one SELECT and one INSERT or UPDATE for each."""
    from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

    from db.tables import employee

    origin_engine, target_engine = create_async_engine(origin), create_async_engine(target)
    async with origin_engine.connect() as connection:
        found = await connection.execute(select(employee).order_by(employee.c.id).limit(rows))
        people = [dict(row) for row in found.mappings()]
    started = time.perf_counter()
    async with AsyncSession(target_engine) as session:
        for person in people:
            same = employee.c.id == person["id"]
            if (await session.execute(select(employee).where(same))).one_or_none() is None:
                await session.execute(insert(employee).values(person))
            else:
                await session.execute(update(employee).where(same).values(person))
        await session.commit()
        seconds = time.perf_counter() - started
        written = await session.scalar(select(func.count()).select_from(employee))
    await origin_engine.dispose()
    await target_engine.dispose()
    return {"seconds": seconds, "rows": written}


def _dlt(target: str, source: str, reader: str) -> dict[str, Any]:
    """Replicate the HRIS's table of employees into an empty database with dlt, merging by primary key.

    `reader` is how dlt reads the table: `sqlalchemy`, its default, or `pyarrow`.
    """
    try:
        import dlt
        from dlt.sources.sql_database import sql_table
    except ImportError as error:
        raise BenchError(f"dlt is not installed here: use `make bench` ({error})") from error
    url: URL = make_url(target)
    # dlt takes a synchronous driver. Without primary keys, which it leaves out by default, its merge does not end.
    destination = dlt.destinations.sqlalchemy(
        url.set(drivername="mysql+pymysql", query={"charset": "utf8mb4"}).render_as_string(hide_password=False),
        create_primary_keys=True,
    )
    table = sql_table(credentials=f"sqlite:///{source}", table="HR_Employee", backend=reader, chunk_size=DLT_CHUNK_ROWS)
    table.apply_hints(primary_key="ID", write_disposition="merge")
    with tempfile.TemporaryDirectory() as folder:
        pipeline = dlt.pipeline(
            "bench", destination=destination, dataset_name=url.database, pipelines_dir=folder, progress=None
        )
        started = time.perf_counter()
        pipeline.run(table).raise_on_failed_jobs()
        seconds = time.perf_counter() - started
        with pipeline.sql_client() as client:
            rows = client.execute_sql("SELECT count(*) FROM hr_employee")[0][0]
    return {"seconds": seconds, "rows": rows}


def _peak_mb() -> float:
    # Not `ru_maxrss`: that one begins with what the parent had when it started this process.
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def _main() -> None:
    kind, arguments = sys.argv[1], json.loads(sys.argv[2])
    if kind == "dlt":
        found = _dlt(**arguments)
    else:
        function = _replicate if kind == "replicate" else _row_by_row
        found = asyncio.run(function(**arguments))
    print(json.dumps(found | {"peak_mb": _peak_mb()}))


if __name__ == "__main__":
    _main()
