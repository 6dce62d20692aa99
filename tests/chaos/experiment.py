"""Calls of a task that adds one row, while everything is killed: each happened once, and everybody knows."""

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

import redis
from kombu.exceptions import OperationalError
from prefect.client.schemas.filters import FlowRunFilter
from prefect.client.schemas.objects import FlowRun

from shim.batches.answers import read_states
from tests.chaos.faults import Faults
from tests.chaos.system import System, run_system

FINAL = {"SUCCESS", "FAILURE", "REVOKED"}
AGAIN_SECONDS = 0.5
# Seconds after the last fault, or after the last answer, within which the next answer must come.
RECOVERY_LIMIT = 120.0
PAGE = 200

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Size:
    """How long and how hard.

    Attributes:
        calls: Calls of the task.
        seconds: Over which they are sent; faults go on until the last one is sent.
    """

    calls: int
    seconds: float


SHORT, USUAL, NIGHTLY = Size(40, 50), Size(200, 200), Size(2_000, 2_400)


@dataclass
class Report:
    """What became of the calls.

    Attributes:
        calls: How many there were.
        faults: How often each kind of fault happened.
        seconds: From the first call to the last answer.
        problems: What should not be.
        attempts: How often the flow was begun in all.
    """

    calls: int
    faults: Counter[str]
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list)
    attempts: int = 0


def run_experiment(size: Size, seed: int, folder: Path, tell: Tell) -> Report:
    """Send calls to a whole system while its parts are killed, and look at what became of them.

    Args:
        size: How long and how hard.
        seed: Of the random faults.
        folder: Where logs go.
        tell: Called with a line about each fault, and about each step.

    Returns:
        What became of the calls.
    """
    with run_system(folder) as system:
        began = time.monotonic()
        calls = {str(uuid4()): number for number in range(size.calls)}
        faults = Faults(system, seed, tell)
        with ThreadPoolExecutor(1) as sender:
            sent = sender.submit(_send, system, calls, size.seconds)
            faults.go_on_while(lambda: not sent.done())
            sent.result()
        tell("no more faults; waiting for the answers")
        report = Report(size.calls, faults.counts)
        _wait_for_ends(system, calls, report)
        report.seconds = time.monotonic() - began
        faults.note_ended_parts()
        report.problems += faults.problems
        _look(system, calls, report)
    return report


def _send(system: System, calls: dict[str, int], seconds: float) -> None:
    pace = threading.Event()
    for call, number in calls.items():
        while True:
            # With an id of the caller's, to send again what may have arrived is to send it once.
            with suppress(OperationalError, redis.ConnectionError):
                system.task.apply_async((number,), task_id=call, retry=False)
                break
            pace.wait(AGAIN_SECONDS)
        pace.wait(seconds / len(calls))


def _wait_for_ends(system: System, calls: dict[str, int], report: Report) -> None:
    pause = threading.Event()
    states: Counter[str] = Counter()
    ended, deadline = 0, time.monotonic() + RECOVERY_LIMIT
    while time.monotonic() < deadline:
        # A pooled connection may be one to a server that was killed.
        with suppress(redis.ConnectionError):
            states = Counter(read_states(system.app.backend, list(calls)).values())
            if set(states) <= FINAL and not _count_open(system):
                return
            before, ended = ended, sum(states[state] for state in FINAL)
            if ended > before:
                deadline = time.monotonic() + RECOVERY_LIMIT
        pause.wait(AGAIN_SECONDS)
    report.problems.append(
        f"nothing came for {RECOVERY_LIMIT:g} s: calls {dict(states)}, {_count_open(system)} executions are open"
    )


def _count_open(system: System) -> int:
    ((count,),) = system.query(
        "SELECT count(*) FROM {database}.scheduled_job_execution e "
        "JOIN {database}.scheduler_execution_status s ON s.id = e.status_id WHERE s.code IN ('pending', 'running')"
    )
    return int(count)


def _look(system: System, calls: dict[str, int], report: Report) -> None:
    """Compare what there is with what should be: of everything one, for each call."""
    rows = Counter(number for (number,) in system.query("SELECT number FROM {database}.added_row"))
    report.problems += [f"call {number} has {rows[number]} rows" for number in calls.values() if rows[number] != 1]
    runs = _read_runs(system)
    report.attempts = sum(run.run_count for run in runs)
    by_call = Counter(_find_call(run) for run in runs)
    states = read_states(system.app.backend, list(calls))
    executions = dict(
        system.query(
            "SELECT e.run_id, s.code FROM {database}.scheduled_job_execution e "
            "JOIN {database}.scheduler_execution_status s ON s.id = e.status_id"
        )
    )
    for call, number in calls.items():
        if by_call[call] != 1:
            report.problems.append(f"call {number} has {by_call[call]} runs")
        if states[call] != "SUCCESS":
            report.problems.append(f"call {number} is {states[call]} for its caller")
        elif (result := system.app.backend.get_result(call)) != number:
            report.problems.append(f"call {number} got the result {result!r}")
    for run in runs:
        if run.state_name != "Completed":
            report.problems.append(f"run {run.name} is {run.state_name}: {run.state and run.state.message}")
        if executions.get(str(run.id)) != "success":
            report.problems.append(f"run {run.name} has an execution {executions.get(str(run.id))}")
    if len(executions) != len(runs):
        report.problems.append(f"{len(runs)} runs have {len(executions)} executions")


def _read_runs(system: System) -> list[FlowRun]:
    wanted = FlowRunFilter.model_validate({"tags": {"all_": [f"task:{system.task.name}"]}})
    runs: list[FlowRun] = []
    with system.client() as client:
        while page := client.read_flow_runs(flow_run_filter=wanted, limit=PAGE, offset=len(runs)):
            runs += page
    return runs


def _find_call(run: FlowRun) -> Any:
    return next((tag.removeprefix("celery-id:") for tag in run.tags if tag.startswith("celery-id:")), None)
