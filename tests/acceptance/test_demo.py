"""The demonstration and the local system, run as their users run them."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from demo.jobs import JOBS

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT = 600
ENTITIES = ("Departments", "Employees", "Security users", "Users", "Assignments")

pytestmark = pytest.mark.timeout(2 * LIMIT)


def environment(data: Path, **variables: str) -> dict[str, str]:
    return {**os.environ, "DATA_DIR": str(data), "COLUMNS": "100", **variables}


def run_demo(*arguments: str, data: Path, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "demo", *arguments],
        cwd=REPOSITORY,
        env=environment(data, **variables),
        capture_output=True,
        text=True,
        timeout=LIMIT,
        check=False,
    )


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {LIMIT} s"
        time.sleep(0.1)


def find_processes(data: Path) -> list[str]:
    """The command lines of all processes that work in a data folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.environ().get("DATA_DIR", "").startswith(str(data)):
                found.append(" ".join(process.cmdline()))
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return [command for command in found if command]


def read_table(output: str) -> dict[str, dict[str, int]]:
    """Read the counts from a table as it stands on the terminal."""
    columns: list[str] = []
    rows = {}
    for line in output.splitlines():
        if "Inserted" in line:
            columns = line.split()
        elif match := re.match(rf" ?({'|'.join(ENTITIES)})  +(.*)", line):
            rows[match[1]] = dict(zip(columns, (int(cell.replace(",", "")) for cell in match[2].split()), strict=True))
    return rows


def read_jobs(output: str) -> dict[str, str]:
    """Read the closing table: what each job did, by job."""
    told: dict[str, str] = {}
    job = ""
    for line in output.splitlines():
        if match := re.match(r" ?([a-z-]+)  +[\d.]+  +(.*)", line):
            job, told[match[1]] = match[1], match[2].strip()
        elif job and (rest := re.match(r" {10,}(\S.*)", line)):
            told[job] += f" {rest[1].strip()}"
    return told


def read_counts(told: str) -> dict[str, int]:
    return {name: int(number.replace(",", "")) for number, name in re.findall(r"([\d,]+) ([a-z ]+)", told)}


def test_the_demo_runs_every_job_shows_what_each_did_and_leaves_no_process(tmp_path: Path) -> None:
    demo = run_demo("--people", "300", data=tmp_path)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    replications, _, others = demo.stdout.partition("The other jobs")
    first, second = (read_table(part) for part in replications.split("Second run"))
    assert tuple(first) == tuple(second) == ENTITIES

    assert first["Employees"]["Inserted"] > 250
    assert first["Employees"]["Rejected"] >= 4
    assert all(row["Inserted"] > 0 for row in first.values())
    assert "rejected: Employees" in demo.stdout
    assert all(row["Inserted"] == row["Updated"] == row["Deactivated"] == 0 for row in second.values())
    assert second["Employees"]["Unchanged"] == first["Employees"]["Inserted"]

    jobs = read_jobs(others)
    assert list(jobs) == [job.deployment for job in JOBS]
    sync = read_counts(jobs["attendance-sync"])
    assert sync["total"] > 500
    # At a quarter past each hour the deployment's own schedule is there first.
    found = sync["synced"] + sync["unchanged"]
    assert min(found, sync["not found"], sync["errors"], sync["from biostar"], sync["biostar ignored"]) > 0
    assert read_counts(jobs["attendance-sync-for-lines"])["total"] == 6
    assert read_counts(jobs["meal-request-attendance"])["total"] == 12
    cleanup = read_counts(jobs["history-cleanup"])
    assert (cleanup["deleted executions"], cleanup["deleted locks"], cleanup["deleted instances"]) == (25, 1, 1)

    assert len(re.findall(r"http://127\.0\.0\.1:\d+/runs/flow-run/[0-9a-f-]{36}", demo.stdout)) == 2
    assert find_processes(tmp_path) == []


def test_a_killed_demo_leaves_no_process(tmp_path: Path) -> None:
    demo = subprocess.Popen(
        [sys.executable, "-m", "demo", "--people", "300"],
        cwd=REPOSITORY,
        env=environment(tmp_path),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_until(
        lambda: any("demo.prefect_server" in command for command in find_processes(tmp_path)), "the server is started"
    )
    demo.send_signal(signal.SIGKILL)
    demo.wait()
    wait_until(lambda: find_processes(tmp_path) == [], "every process ends")


def test_up_starts_a_worker_for_the_configured_server_once_and_down_stops_it(tmp_path: Path, prefect_api: str) -> None:
    try:
        up = run_demo("up", data=tmp_path, PREFECT_API_URL=prefect_api)
        assert up.returncode == 0, up.stdout + up.stderr
        assert f"PREFECT_API_URL={prefect_api} .venv/bin/prefect deployment run" in up.stdout
        assert "deployed hris-replication/hris-replication" in up.stdout
        running = find_processes(tmp_path)
        assert any("-m workers" in command for command in running)
        assert not any("demo.prefect_server" in command for command in running)

        assert "Already running" in run_demo("up", data=tmp_path, PREFECT_API_URL=prefect_api).stdout
        assert sorted(find_processes(tmp_path)) == sorted(running)
    finally:
        down = run_demo("down", data=tmp_path)
    assert down.stdout.startswith("Stopped the worker.")
    assert find_processes(tmp_path) == []
    assert "Nothing was running" in run_demo("down", data=tmp_path).stdout


def test_up_says_what_to_do_when_the_configured_server_does_not_answer(tmp_path: Path) -> None:
    up = run_demo("up", data=tmp_path, PREFECT_API_URL="http://127.0.0.1:9/api")
    assert up.returncode == 1
    assert "no Prefect server answers at http://127.0.0.1:9/api (PREFECT_API_URL)" in up.stderr
    assert find_processes(tmp_path) == []
