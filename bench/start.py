"""How soon runs start, and how many a second: the warm worker beside Prefect's stock process worker."""

import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentUpdate, WorkPoolUpdate
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import TERMINAL_STATES
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from bench.replication import Goal, Outcome, Tell
from errors import SuiteError
from settings import REPOSITORY
from tests.integration.shim.system import POOL, System
from tests.servers import PrefectServer, prefect_server, redis_server
from tests.servers.postgresql import postgresql_server
from tests.servers.process import ServerProcess
from tests.waiting import wait_until

GOALS = {
    "api_p50_s": Goal("<=", 0.7),
    "api_p95_s": Goal("<=", 1.5),
    "delay_p50_s": Goal("<=", 0.7),
    "delay_p95_s": Goal("<=", 1.5),
    "stock_times_slower": Goal(">=", 6),
    "child_pss_mb": Goal("<=", 60),
    "runs_per_s": Goal(">=", 3),
}
RUNS, QUICK_RUNS = 30, 6
BURST, QUICK_BURST = 90, 20
STOCK_BURST, QUICK_STOCK_BURST = 12, 4
AT_ONCE = 8
WAITING = 3
# The stock worker is asked fewer times: each of its runs takes seconds.
STOCK_SHARE = 3
LIMIT = 300.0
WAIT_SECONDS = 30
# As docs/operations.md has it for a server on PostgreSQL.
SERVER_SETTINGS = {"PREFECT_SERVER_DATABASE_SQLALCHEMY_POOL_SIZE": "20"}
STOCK_POLLS = {"PREFECT_WORKER_QUERY_SECONDS": "1"}


class RunNotCompleted(SuiteError):
    """A run that was measured did not complete."""


def measure_start(*, quick: bool, tell: Tell) -> Outcome:
    """Measure the start of runs on a private Prefect server (SQLite), and their number a second on one on PostgreSQL.

    Args:
        quick: Fewer runs; the figures are then rough.
        tell: Called with a line about each step.

    Returns:
        Seconds, megabytes, runs a second.
    """
    outcome = Outcome()
    runs = QUICK_RUNS if quick else RUNS
    with tempfile.TemporaryDirectory(prefix="bench-start-") as folder, redis_server() as redis:
        with prefect_server() as prefect, _use(prefect):
            (Path(folder) / "latency").mkdir()
            system = System(Path(folder) / "latency", redis, prefect)
            _deploy(system)
            tell(f"time until a flow's first line: {runs} runs each way")
            _measure_latency(system, runs, outcome)
        tell("runs a second, with PostgreSQL as Prefect's database")
        with (
            postgresql_server() as postgresql,
            prefect_server(postgresql.url, **SERVER_SETTINGS) as prefect,
            _use(prefect),
        ):
            (Path(folder) / "throughput").mkdir()
            system = System(Path(folder) / "throughput", redis, prefect)
            _deploy(system)
            with _warm_worker(system):
                outcome.ratios["runs_per_s"] = _measure_throughput(system, QUICK_BURST if quick else BURST)
            with _stock_worker(system):
                stock = _measure_throughput(system, QUICK_STOCK_BURST if quick else STOCK_BURST)
    outcome.raw["stock_runs_per_s"] = round(stock, 3)
    return outcome


def _measure_latency(system: System, runs: int, outcome: Outcome) -> None:
    with _warm_worker(system), system.celery_worker("callers"):
        api = [_time_of_run(system) for _ in range(runs + 1)][1:]
        delay = [_time_of_call(system) for _ in range(runs + 1)][1:]
        outcome.ratios["child_pss_mb"] = _measure_memory(system)
    with _stock_worker(system):
        stock = [_time_of_run(system) for _ in range(max(2, runs // STOCK_SHARE) + 1)][1:]
    for way, seconds in {"api": api, "delay": delay}.items():
        outcome.ratios[f"{way}_p50_s"] = statistics.median(seconds)
        outcome.ratios[f"{way}_p95_s"] = statistics.quantiles(seconds, n=20)[-1]
    outcome.ratios["stock_times_slower"] = statistics.median(stock) / statistics.median(api)
    outcome.raw["stock_p50_s"] = round(statistics.median(stock), 2)
    outcome.raw["runs"] = {"api": runs, "delay": runs, "stock": len(stock)}


def _time_of_run(system: System) -> float:
    """Give the seconds from the API call that makes a run to the flow's first line."""
    with system.client() as client:
        deployment = _find_deployment(system, client)
        sent = time.time()
        run = client.create_flow_run_from_deployment(deployment)
        _wait_for(client, [run.id])
    return system.began_at(str(run.id)) - sent


def _find_deployment(system: System, client: SyncPrefectClient) -> UUID:
    name = system.task("note_time").prefect_flow.name
    return client.read_deployment_by_name(f"{name}/{name}").id


def _time_of_call(system: System) -> float:
    """Give the seconds from `.delay()` to the flow's first line."""
    sent = time.time()
    result = system.task("note_time").delay()
    result.get(timeout=LIMIT)
    return system.began_at(result.id) - sent


def _measure_memory(system: System) -> float:
    """Give the megabytes that each of some waiting children has of its own: the largest."""
    calls = [system.task("sleep_async").delay(WAIT_SECONDS) for _ in range(WAITING)]
    pids = [system.pid(call) for call in calls]
    sizes = [_read_pss(pid) for pid in pids]
    for call in calls:
        call.get(timeout=LIMIT)
    return max(sizes)


def _read_pss(pid: int) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith("Pss:"))
    return int(kilobytes) / 1024


def _measure_throughput(system: System, runs: int) -> float:
    """Give the runs that are started and finished a second when many are asked for at once."""
    with system.client() as client:
        deployment = _find_deployment(system, client)
        _wait_for(client, [client.create_flow_run_from_deployment(deployment).id])
        began = time.monotonic()
        ids = [client.create_flow_run_from_deployment(deployment).id for _ in range(runs)]
        _wait_for(client, ids)
    return runs / (time.monotonic() - began)


def _wait_for(client: SyncPrefectClient, ids: list[UUID]) -> None:
    """Wait until runs have completed; they are counted, as whole runs cost the server more than some of theirs."""
    wanted = FlowRunFilterId(any_=ids)
    ended = FlowRunFilterState(type=FlowRunFilterStateType(any_=list(TERMINAL_STATES)))

    def are_over() -> bool:
        return client.count_flow_runs(flow_run_filter=FlowRunFilter(id=wanted, state=ended)) == len(ids)

    wait_until(are_over, f"{len(ids)} runs have ended", LIMIT)
    for run in client.read_flow_runs(flow_run_filter=FlowRunFilter(id=wanted)):
        if run.state is None or not run.state.is_completed():
            raise RunNotCompleted(f"the run {run.name} is {run.state_name}: {run.state and run.state.message}")


def _deploy(system: System) -> None:
    """Deploy the sample tasks, with this checkout as the place of their code."""
    system.deploy()
    step = {"prefect.deployments.steps.set_working_directory": {"directory": str(REPOSITORY)}}
    with system.client() as client:
        client.update_work_pool(POOL, WorkPoolUpdate(concurrency_limit=AT_ONCE))
        for deployment in client.read_deployments(limit=200):
            client.update_deployment(deployment.id, DeploymentUpdate(pull_steps=[step]))


@contextmanager
def _use(prefect: PrefectServer) -> Iterator[None]:
    with temporary_settings({PREFECT_API_URL: prefect.api_url, PREFECT_HOME: prefect.home}):
        yield


def _warm_worker(system: System) -> ServerProcess:
    return _worker(system, "workers", "--pool", POOL, "--name", "warm")


def _stock_worker(system: System) -> ServerProcess:
    return _worker(
        system, "prefect", "worker", "start", "--pool", POOL, "--name", "stock", "--type", "process", **STOCK_POLLS
    )


def _worker(system: System, *command: str, **environment: str) -> ServerProcess:
    log = system.folder / f"{command[0]}-worker.log"
    return ServerProcess(
        f"the worker {command[0]}",
        [sys.executable, "-m", *command],
        log=log,
        is_ready=lambda: log.exists() and "started!" in log.read_text(errors="replace"),
        environment=system.environment(**environment),
        start_limit=LIMIT,
    )
