"""Reading the HRIS's employees from a SQL Server: the suite's reader beside a bare pyodbc cursor, on both drivers.

The server is the tests' TDS endpoint, which sends an answer that it gave before from a file, or one whose URL is given.
Both readers send the same statement and take the same number of rows at a time, each in a process of its own, in turn.
"""

import os
import platform
import statistics
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import make_url

from bench.reading import How, read
from bench.replication import Goal, Outcome, Tell
from demo.sample_hris import HrisShape, write_sample_hris
from settings import REPOSITORY, Settings
from tests.servers.tds import tds_server
from tests.servers.tds.drivers import DRIVERS, Driver, database_url, driver_name

GOALS = {
    "rate_vs_pyodbc": Goal(">=", 0.8),
    "peak_mb_above_start": Goal("<=", 150),
    "max_loop_block_ms": Goal("<=", 50),
}
MAPPING = REPOSITORY / "hr" / "mappings" / "hris.toml"
DATABASE = "HMIS-AMH"
UrlOf = Callable[[Driver], str]


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Attributes:
        people: Employees of the sample; of a hundred, about 95 hold a post and are read.
        repeats: Readings of each kind, of which the median counts; of memory and blocks, the worst.
    """

    people: int
    repeats: int


FULL = Scale(people=1_060_000, repeats=3)
QUICK = Scale(people=60_000, repeats=1)


def measure_source(*, quick: bool, url: str | None, tell: Tell) -> Outcome:
    """Measure the readers.

    Args:
        quick: Fewer rows, once; the figures are then rough.
        url: A SQL Server to read instead of the endpoint, with the documented HRIS's tables.
        tell: Called with a line about each step.

    Returns:
        The worst of both drivers; the figures of each stand under `drivers`.

    Raises:
        BenchError: A reading failed.
    """
    scale = QUICK if quick else FULL
    chunk_rows = Settings.model_fields["replication_chunk_rows"].default
    drivers: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix="hr-flows-bench-") as folder, _server(scale, url, tell) as url_of:
        for driver in DRIVERS:
            found: dict[How, list[dict[str, Any]]] = {"suite": [], "pyodbc": []}
            # The first answer is not timed: the endpoint makes it then, and a server reads it from its disk.
            for repeat in range(scale.repeats + 1):
                for how, readings in found.items():
                    reading = read(how, url_of(driver), mapping=MAPPING, chunk_rows=chunk_rows, folder=Path(folder))
                    tell(f"{driver}, {how}: {reading['rows'] / reading['seconds']:,.0f} rows a second")
                    if repeat > 0:
                        readings.append(reading)
            drivers[driver] = _compare(found)
    ratios = {
        name: (min if goal.sign == ">=" else max)(figures[name] for figures in drivers.values())
        for name, goal in GOALS.items()
    }
    machine = {"cores": os.cpu_count(), "python": platform.python_version(), "chunk_rows": chunk_rows}
    return Outcome(ratios, {"drivers": drivers, **machine})


def _compare(found: dict[How, list[dict[str, Any]]]) -> dict[str, Any]:
    rates = {
        how: statistics.median(reading["rows"] / reading["seconds"] for reading in readings)
        for how, readings in found.items()
    }
    return {
        "rate_vs_pyodbc": rates["suite"] / rates["pyodbc"],
        "peak_mb_above_start": max(reading["peak_mb_above_start"] for reading in found["suite"]),
        "max_loop_block_ms": max(reading["max_loop_block_ms"] for reading in found["suite"]),
        "rows": found["suite"][0]["rows"],
        "rows_per_second": rates["suite"],
        "pyodbc_rows_per_second": rates["pyodbc"],
        "cpu_seconds": statistics.median(reading["cpu_seconds"] for reading in found["suite"]),
        "pyodbc_cpu_seconds": statistics.median(reading["cpu_seconds"] for reading in found["pyodbc"]),
        "pyodbc_peak_mb_above_start": max(reading["peak_mb_above_start"] for reading in found["pyodbc"]),
    }


@contextmanager
def _server(scale: Scale, url: str | None, tell: Tell) -> Iterator[UrlOf]:
    if url is not None:
        given = make_url(url)
        yield lambda driver: given.update_query_dict({"driver": driver_name(driver)}).render_as_string(
            hide_password=False
        )
        return
    with (
        tempfile.TemporaryDirectory(prefix="hr-flows-bench-") as folder,
        tds_server("--keep-answers", folder) as server,
    ):
        tell(f"Writing an HRIS of {scale.people:,} people")
        sample = Path(folder) / "hris.sqlite3"
        write_sample_hris(sample, HrisShape(people=scale.people))
        server.serve_file(DATABASE, sample, {"User": "Security"})
        sample.unlink()
        yield lambda driver: database_url(server, driver, DATABASE)
