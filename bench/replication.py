"""The replication measured against bare `LOAD DATA`, the old system's way and dlt, on one private MariaDB.

The server runs with its default configuration, apart from its paths and port, utf8mb4 and `local_infile`; the rows are
those of the sample HRIS with departments and employees only. `docs/benchmarks.md` says what each figure means.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql
from sqlalchemy import make_url

from bench.measured import measure
from demo.sample_hris import HrisShape, change_sample_hris, write_sample_hris
from hr.merge.report import TARGETS
from tests.servers import MariaDBServer, mariadb_server

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Scale:
    """How much is measured.

    Args:
        employees: Employees that the speeds are measured on.
        fewest: Employees of the small replication of `peak_growth`.
        most: Employees of the large one.
        row_by_row: Employees that are written row by row; its speed does not depend on their number.
        repeats: Initial loads, and bare loads, of which the median counts.
    """

    employees: int
    fewest: int
    most: int
    row_by_row: int
    repeats: int


FULL = Scale(employees=300_000, fewest=100_000, most=1_000_000, row_by_row=10_000, repeats=3)
QUICK = Scale(employees=10_000, fewest=5_000, most=20_000, row_by_row=500, repeats=1)


@dataclass(frozen=True)
class Goal:
    """What a ratio is to reach at full scale."""

    sign: str
    limit: float

    def is_met(self, value: float) -> bool:
        """Tell whether a value reaches it."""
        return value >= self.limit if self.sign == ">=" else value <= self.limit


GOALS = {
    "load_vs_load_data": Goal(">=", 0.5),
    "times_row_by_row": Goal(">=", 20),
    "times_dlt": Goal(">=", 5),
    "unchanged_vs_first": Goal("<=", 0.5),
    "unchanged_rows_written": Goal("<=", 0),
    "one_percent_vs_first": Goal("<=", 0.6),
    "peak_mb": Goal("<=", 300),
    "peak_growth": Goal("<=", 1.2),
}


@dataclass
class Outcome:
    """The ratios, by the names of `GOALS`, and the figures that they were made of."""

    ratios: dict[str, float] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)


def measure_replication(scale: Scale, *, tell: Tell) -> Outcome:
    """Measure the replication and its peers.

    Args:
        scale: How much.
        tell: Called with a line about each step.

    Returns:
        Ratios and raw figures; seconds, rows a second, megabytes.

    Raises:
        BenchError: A measurement failed.
        ServerError: MariaDB is not installed or does not start.
    """
    with tempfile.TemporaryDirectory(prefix="hr-flows-bench-") as folder, mariadb_server(durable=True) as server:
        bench = _Bench(server, Path(folder), tell)
        raw: dict[str, Any] = {"machine": _describe_machine(server), "employees": scale.employees}
        source = bench.write_source(scale.employees)
        target = bench.measure_loads(source, scale, raw)
        raw["row_by_row_rows"], raw["row_by_row_rows_per_second"] = bench.row_by_row(target, scale.row_by_row)
        raw["dlt_seconds"], raw["dlt_rows_per_second"] = bench.dlt(source, "sqlalchemy")
        raw["dlt_arrow_seconds"], raw["dlt_arrow_rows_per_second"] = bench.dlt(source, "pyarrow")
        bench.measure_later_runs(source, target, raw)
        server.drop_database(target)
        raw["peaks_mb"] = {str(scale.employees): raw.pop("first_peak_mb")}
        for employees in (scale.fewest, scale.most):
            found = bench.replicate(bench.write_source(employees), server.create_database())
            raw["peaks_mb"][str(employees)] = found["peak_mb"]
            raw[f"seconds_{employees}"] = found["seconds"]
    return Outcome(_ratios(raw, scale), raw)


def _ratios(raw: dict[str, Any], scale: Scale) -> dict[str, float]:
    rate, first, peaks = raw["rows_per_second"], raw["first_seconds"], raw["peaks_mb"]
    return {
        "load_vs_load_data": rate / raw["load_data_rows_per_second"],
        "times_row_by_row": rate / raw["row_by_row_rows_per_second"],
        "times_dlt": rate / raw["dlt_rows_per_second"],
        "times_dlt_arrow": rate / raw["dlt_arrow_rows_per_second"],
        "unchanged_vs_first": raw["unchanged_seconds"] / first,
        "unchanged_rows_written": raw["unchanged_rows_changed"],
        "one_percent_vs_first": raw["one_percent_seconds"] / first,
        "peak_mb": max(peaks.values()),
        "peak_growth": peaks[str(scale.most)] / peaks[str(scale.fewest)],
    }


def _describe_machine(server: MariaDBServer) -> str:
    version = server.execute("SELECT VERSION()")[0][0]
    return f"{os.cpu_count()} cores, Python {platform.python_version()}, MariaDB {version}"


@dataclass(frozen=True)
class _Bench:
    server: MariaDBServer
    folder: Path
    tell: Tell

    def write_source(self, employees: int) -> Path:
        self.tell(f"Writing a sample HRIS of {employees:,} employees")
        path = self.folder / f"hris-{employees}.sqlite3"
        write_sample_hris(path, HrisShape(people=employees, accounts=0, forwarders=0))
        return path

    def replicate(self, source: Path, database: str) -> dict[str, Any]:
        found = measure("replicate", target=self.server.url(database), source=str(source))
        self.tell(f"Replicated {source.stem} in {found['seconds']:.2f} s, {found['peak_mb']:.0f} MB")
        return found

    def measure_loads(self, source: Path, scale: Scale, raw: dict[str, Any]) -> str:
        """Measure the initial replication and bare `LOAD DATA`, one after the other, some times.

        Returns:
            The database that the last replication filled.
        """
        firsts, peaks, bare = [], [], []
        target = ""
        for _ in range(scale.repeats):
            if target:
                self.server.drop_database(target)
            target = self.server.create_database()
            found = self.replicate(source, target)
            firsts.append(found["seconds"])
            peaks.append(found["peak_mb"])
            bare.append(self.load_data(target))
        raw["rows_loaded"] = found["employees"]
        raw["last_first_staging_seconds"], raw["last_first_cpu_seconds"] = (
            found["staging_seconds"],
            found["cpu_seconds"],
        )
        raw["first_seconds"], raw["first_seconds_each"] = statistics.median(firsts), firsts
        raw["rows_per_second"] = found["employees"] / raw["first_seconds"]
        raw["load_data_seconds"], raw["load_data_seconds_each"] = statistics.median(bare), bare
        raw["load_data_rows_per_second"] = found["employees"] / raw["load_data_seconds"]
        raw["first_peak_mb"] = max(peaks)
        return target

    def load_data(self, origin: str) -> float:
        """Load the employees of a database into an identical, empty table with one bare `LOAD DATA LOCAL INFILE`.

        Returns:
            Seconds.
        """
        database = self._create_peer(origin)
        file = self.folder / "employee.tsv"
        file.unlink(missing_ok=True)
        self.server.execute(
            f"SELECT * FROM `{origin}`.employee ORDER BY id INTO OUTFILE '{file}' CHARACTER SET utf8mb4"
        )
        url = make_url(self.server.url(database))
        connection = pymysql.connect(
            host=url.host, port=url.port or 0, user=url.username, password=url.password or "", db=database,
            charset="utf8mb4", local_infile=True,
        )  # fmt: skip
        with connection, connection.cursor() as cursor:
            started = time.perf_counter()
            cursor.execute(f"LOAD DATA LOCAL INFILE '{file}' INTO TABLE employee CHARACTER SET utf8mb4")
            connection.commit()
            seconds = time.perf_counter() - started
        self.server.drop_database(database)
        self.tell(f"Bare LOAD DATA of the same employees took {seconds:.2f} s")
        return seconds

    def row_by_row(self, origin: str, rows: int) -> tuple[int, float]:
        database = self._create_peer(origin)
        urls = {"origin": self.server.url(origin), "target": self.server.url(database)}
        found = measure("row_by_row", **urls, rows=rows)
        self.server.drop_database(database)
        rate = found["rows"] / found["seconds"]
        self.tell(f"Row by row {found['rows']:,} employees took {found['seconds']:.2f} s")
        return found["rows"], rate

    def dlt(self, source: Path, reader: str) -> tuple[float, float]:
        database = self.server.create_database()
        found = measure("dlt", target=self.server.url(database), source=str(source), reader=reader)
        self.server.drop_database(database)
        self.tell(f"dlt, reading with {reader}, replicated {found['rows']:,} rows in {found['seconds']:.2f} s")
        return found["seconds"], found["rows"] / found["seconds"]

    def measure_later_runs(self, source: Path, target: str, raw: dict[str, Any]) -> None:
        """Measure a run that finds nothing changed and one that finds 1 % changed, with the server's row counters."""
        self.server.execute("SET GLOBAL userstat = 1")
        raw["unchanged_seconds"], raw["unchanged_rows_changed"], _ = self._count_run(source, target)
        change_sample_hris(source, 0.01)
        raw["one_percent_seconds"], raw["one_percent_rows_changed"], raw["one_percent_rows_reported"] = self._count_run(
            source, target
        )
        self.server.execute("SET GLOBAL userstat = 0")

    def _count_run(self, source: Path, target: str) -> tuple[float, int, int]:
        self.server.execute("FLUSH TABLE_STATISTICS")
        found = self.replicate(source, target)
        tables = ", ".join(f"'{name}'" for name in TARGETS)
        changed = self.server.execute(
            "SELECT COALESCE(SUM(ROWS_CHANGED), 0) FROM information_schema.TABLE_STATISTICS "
            f"WHERE TABLE_SCHEMA = '{target}' AND TABLE_NAME IN ({tables})"
        )
        return found["seconds"], int(changed[0][0]), found["written"]

    def _create_peer(self, origin: str) -> str:
        """Create a database with the tables `department`, filled, and `employee`, empty, exactly as in `origin`."""
        database = self.server.create_database()
        for table in ("department", "employee"):
            self.server.execute(_create_like(self.server, origin, database, table))
        self.server.execute(
            # Parents come after their children too.
            "SET STATEMENT foreign_key_checks = 0 FOR "
            f"INSERT INTO `{database}`.department SELECT * FROM `{origin}`.department"
        )
        return database


def _create_like(server: MariaDBServer, origin: str, database: str, table: str) -> str:
    # `CREATE TABLE ... LIKE` would leave the foreign keys out.
    statement: str = server.execute(f"SHOW CREATE TABLE `{origin}`.`{table}`")[0][1]
    return statement.replace("CREATE TABLE `", f"CREATE TABLE `{database}`.`", 1).replace(
        "REFERENCES `", f"REFERENCES `{database}`.`"
    )
