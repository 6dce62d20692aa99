"""What the Celery shim costs: sending, following many runs at once, and the time until a flow's first line."""

import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from celery import Celery, shared_task
from prefect.client.schemas.filters import FlowRunFilter
from prefect.deployments import run_deployment
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings
from prefect.states import Completed, Running

from bench.replication import Goal, Outcome, Tell
from tests.integration.shim.system import System
from tests.servers import prefect_server, redis_server
from tests.waiting import wait_until

GOALS = {
    "submit_vs_celery": Goal("<=", 1.05),
    "runs_followed": Goal(">=", 200),
    "gateway_peak_mb": Goal("<=", 250),
    "gateway_calls_per_s": Goal("<=", 4),
    "added_latency_s": Goal("<=", 0.3),
}
RUNS = 200
SUBMISSIONS = 500
ROUNDS = 15
FOLLOWED_SECONDS = 20.0
LIMIT = 180.0


@shared_task(  # type: ignore[untyped-decorator]
    name="bench.plain", bind=True, max_retries=3, default_retry_delay=120, soft_time_limit=600, time_limit=660
)
def plain(self: Any, execution_id: str | None = None, triggered_by_user_id: str | None = None) -> None:
    """A task of Celery's own class with the contract of the replication."""


def measure_shim(*, quick: bool, tell: Tell) -> Outcome:
    """Measure the shim on a private Redis and a private Prefect server (SQLite).

    Args:
        quick: Fewer rounds; the ratios are then rough.
        tell: Called with a line about each step.

    Returns:
        Ratios and raw figures; seconds, megabytes.
    """
    outcome = Outcome()
    rounds = 5 if quick else ROUNDS
    with (
        tempfile.TemporaryDirectory(prefix="bench-shim-") as folder,
        redis_server() as redis,
        prefect_server() as prefect,
        temporary_settings({PREFECT_API_URL: prefect.api_url, PREFECT_HOME: prefect.home}),
    ):
        system = System(Path(folder), redis, prefect)
        system.deploy()
        tell(f"sending: {rounds} rounds of {SUBMISSIONS} calls each way")
        measure_sending(system, rounds, outcome)
        tell(f"following {RUNS} runs at once")
        measure_following(system, outcome)
        tell(f"time until the flow's first line: {rounds} runs each way")
        measure_latency(system, rounds, outcome)
    return outcome


def measure_sending(system: System, rounds: int, outcome: Outcome) -> None:
    """Compare `.delay()` of the replication task with that of a plain Celery task, in turns on one connection."""
    import tasks.hris

    app: Celery = system.app
    flow_backed, stock = app.tasks[tasks.hris.hris_replication_task.name], app.tasks[plain.name]
    arguments = {"execution_id": "8c7e6a0e", "triggered_by_user_id": "42"}
    ratios = []
    for number in range(rounds + 1):
        seconds = {}
        for task in (flow_backed, stock) if number % 2 else (stock, flow_backed):
            began = time.process_time()
            for _ in range(SUBMISSIONS):
                task.delay(**arguments)
            seconds[task.name] = time.process_time() - began
            app.control.purge()
        if number:  # the first round opens connections
            ratios.append(seconds[flow_backed.name] / seconds[stock.name])
    outcome.ratios["submit_vs_celery"] = statistics.median(ratios)
    outcome.raw["submit_rounds"] = [round(ratio, 3) for ratio in ratios]


def measure_following(system: System, outcome: Outcome) -> None:
    """Have one worker with the gevent pool follow runs that all run at once, then let them all end."""
    with system.celery_worker("gateway", pool="gevent") as worker:
        results = [system.task("note_time").delay() for _ in range(RUNS)]
        wait_until(lambda: inspect(system)["created"] == RUNS, "all runs exist", LIMIT)
        set_states(system, Running())
        wait_until(lambda: all(result.state == "STARTED" for result in results), "all are seen running", LIMIT)
        before, began = inspect(system), time.monotonic()
        wait_until(lambda: time.monotonic() - began > FOLLOWED_SECONDS, "time passes", LIMIT)
        set_states(system, Completed())
        wait_until(lambda: all(result.ready() for result in results), "all are answered", LIMIT)
        seconds, after = time.monotonic() - began, inspect(system)
        outcome.ratios["runs_followed"] = len(before["followed"])
        outcome.ratios["gateway_calls_per_s"] = (after["requests"] - before["requests"]) / seconds
        outcome.ratios["gateway_peak_mb"] = peak_mb(worker.pid)
        outcome.raw["gateway_seconds"] = round(seconds, 1)


def inspect(system: System) -> dict[str, Any]:
    """Ask the worker what its gateway does."""
    replies = wait_until(
        lambda: system.app.control.inspect(timeout=10)._request("flow_runs"), "the worker answers", LIMIT
    )
    (reply,) = replies.values()
    return dict(reply)


def set_states(system: System, state: Any) -> None:
    """Put all followed runs into a state, as workers would."""
    with system.client() as client:
        wanted = FlowRunFilter.model_validate({"tags": {"all_": ["celery"]}})
        for run in client.read_flow_runs(flow_run_filter=wanted, limit=RUNS):
            client.set_flow_run_state(run.id, state, force=True)


def peak_mb(pid: int) -> float:
    """Give the largest resident memory that a process has had."""
    status = Path(f"/proc/{pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def measure_latency(system: System, rounds: int, outcome: Outcome) -> None:
    """Compare the time from `.delay()` to the flow's first line with that from `run_deployment`, on one worker."""
    flow_name = system.task("note_time").prefect_flow.name
    seconds: dict[str, list[float]] = {"delay": [], "run_deployment": []}
    with system.flow_worker(), system.celery_worker("latency"):
        for _ in range(rounds + 1):
            sent = time.time()
            result = system.task("note_time").delay()
            result.get(timeout=LIMIT)
            seconds["delay"].append(system.began_at(result.id) - sent)
            sent = time.time()
            run: Any = run_deployment(f"{flow_name}/{flow_name}", poll_interval=1, _sync=True)  # type: ignore[call-arg]
            seconds["run_deployment"].append(system.began_at(str(run.id)) - sent)
    medians = {way: statistics.median(values[1:]) for way, values in seconds.items()}
    outcome.ratios["added_latency_s"] = medians["delay"] - medians["run_deployment"]
    outcome.raw["latency_s"] = {way: round(value, 3) for way, value in medians.items()}
