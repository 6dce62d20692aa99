"""Bursts of mails measured against a plain Celery task, and killed in the middle.

One Redis, one mail server, one MariaDB, one Prefect server; both ways send the same mails over connections that they
keep, to the same mail server. A rate is that of calls with an answer, from the first `.delay()` to the last answer.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from celery import Celery
from celery.result import AsyncResult
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from bench.measured import BenchError
from bench.plain_mail import app as plain_app
from bench.replication import Goal, Outcome, Tell
from shim.batches.answers import read_states
from tasks.email import send_notification_task
from tests.integration.mail.system import MailSystem
from tests.servers import mariadb_server, prefect_server, redis_server, smtp_server
from tests.servers.process import ServerProcess

GOALS = {
    "rate_vs_celery": Goal(">=", 0.7),
    "duplicates": Goal("<=", 0),
    "killed_duplicates": Goal("<=", 0),
    "killed_unended": Goal("<=", 0),
}
CALLS, QUICK_CALLS = 5_000, 1_000
LIMIT = 300.0
FINAL = {"SUCCESS", "FAILURE", "REVOKED"}


def measure_burst(*, quick: bool, tell: Tell) -> Outcome:
    """Send bursts both ways, and one that is killed with -9 in its middle and started again.

    Args:
        quick: Fewer calls; the ratio is then rough.
        tell: Called with a line about each step.

    Returns:
        Ratios and raw figures.
    """
    calls = QUICK_CALLS if quick else CALLS
    outcome = Outcome()
    with Servers() as servers:
        tell(f"{calls:,} calls of a plain Celery task")
        with servers.system.celery_worker("plain", "bench.plain_mail", "prefork", redis_database=1):
            plain = servers.run(plain_app, "bench.plain_mail.send", calls)
        tell(f"{calls:,} calls of send_notification_task")
        with servers.workers():
            ours = servers.run(servers.app, send_notification_task.name, calls)
        outcome.ratios["rate_vs_celery"] = ours.rate / plain.rate
        outcome.raw["rates"] = {"celery": round(plain.rate, 1), "batches": round(ours.rate, 1)}
        outcome.ratios["delivered"] = len(ours.message_ids)
        outcome.ratios["duplicates"] = ours.mails - len(ours.message_ids)
        if ours.succeeded != calls:
            raise BenchError(f"{calls - ours.succeeded} of {calls} calls did not succeed: {ours.states}")
        outcome.ratios["flow_runs"] = servers.count_runs(calls)
        tell(f"{calls:,} calls, killed with -9 in the middle and started again")
        killed = servers.run_killed(calls)
        outcome.ratios["killed_duplicates"] = killed.mails - len(killed.message_ids)
        outcome.ratios["killed_unended"] = calls - sum(
            number for state, number in killed.states.items() if state in FINAL
        )
        outcome.ratios["killed_unknown"] = killed.states["FAILURE"]
        outcome.raw["killed_in_the_air"] = killed.in_the_air
        outcome.raw["killed_states"] = dict(killed.states)
        outcome.raw["killed_seconds"] = round(killed.seconds, 1)
    return outcome


class Burst:
    """What became of a burst.

    Args:
        states: How many calls ended in which state.
        taken: The Message-IDs of the mails that the mail server took meanwhile.
        seconds: From the first `.delay()` to the last answer.
    """

    def __init__(self, states: Counter[str], taken: list[str], seconds: float) -> None:
        self.states = states
        self.mails = len(taken)
        self.message_ids = set(taken)
        self.seconds = seconds
        self.succeeded = states["SUCCESS"]
        self.rate = states.total() / seconds
        self.in_the_air = 0


class Servers:
    """The servers of a measurement, and the ways to send a burst through them; a context manager."""

    def __init__(self) -> None:
        self._exits = ExitStack()

    def __enter__(self) -> "Servers":
        enter = self._exits.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory(prefix="bench-burst-")))
        redis, prefect = enter(redis_server()), enter(prefect_server())
        self.smtp, self.mariadb = enter(smtp_server()), enter(mariadb_server())
        self.database = self.mariadb.create_database()
        enter(temporary_settings({PREFECT_API_URL: prefect.api_url, PREFECT_HOME: prefect.home}))
        self.system = MailSystem(folder, redis, prefect, self.smtp, self.mariadb.url(self.database))
        self.system.prepare()
        self.app = self.system.app
        plain_app.conf.update(broker_url=redis.url(1), result_backend=redis.url(1))
        return self

    def __exit__(self, *details: Any) -> None:
        self._exits.__exit__(*details)

    @contextmanager
    def workers(self, name: str = "first") -> Iterator[list[ServerProcess]]:
        """Run a Celery worker and a worker of the work pool, both as documented."""
        with self.system.celery_worker(name) as gateway, self.system.warm_worker(name) as flows:
            yield [gateway, flows]

    def run(self, app: Celery, task_name: str, calls: int) -> Burst:
        """Send a burst and wait for all its answers."""
        before = self.smtp.count_taken()
        began = time.monotonic()
        results = self._send(app, task_name, calls)
        self._wait(app, results, lambda: self.smtp.count_taken() - before >= calls)
        return self._tell(app, results, before, time.monotonic() - began)

    def run_killed(self, calls: int) -> Burst:
        """Send a burst, kill both workers when about a third of the mails is out, start them again and wait."""
        before = self.smtp.count_taken()
        began = time.monotonic()
        with self.workers("killed") as workers:
            results = self._send(self.app, send_notification_task.name, calls)
            _wait_until(lambda: self.smtp.count_taken() - before >= calls // 3, "a third of the mails is out")
            _kill_all(workers)
        in_the_air = self._count_rows("sending")
        with self.workers("again"):
            self._wait(self.app, results, lambda: True)
        burst = self._tell(self.app, results, before, time.monotonic() - began)
        burst.in_the_air = in_the_air
        if burst.states["FAILURE"] != self._count_rows("unknown"):
            raise BenchError(f"calls failed for other reasons than unknown deliveries: {burst.states}")
        return burst

    def count_runs(self, calls: int) -> int:
        """Give the number of flow runs, and make sure that they account for all calls."""
        with get_client(sync_client=True) as client:
            wanted = FlowRunFilter.model_validate({"tags": {"all_": [f"task:{send_notification_task.name}"]}})
            runs = client.read_flow_runs(flow_run_filter=wanted, limit=200)
        accounted = sum(len(run.parameters["calls"]) for run in runs)
        if accounted != calls or not all(run.state is not None and run.state.is_completed() for run in runs):
            raise BenchError(f"the flow runs account for {accounted} of {calls} calls: {[run.state for run in runs]}")
        return len(runs)

    def _send(self, app: Celery, task_name: str, calls: int) -> list[AsyncResult]:
        task = app.tasks[task_name]
        return [task.delay(number, 3, f"person{number}@example.org") for number in range(1, calls + 1)]

    def _wait(self, app: Celery, results: list[AsyncResult], are_out: Callable[[], bool]) -> None:
        ids = [result.id for result in results]
        _wait_until(are_out, "all mails are out")
        try:
            _wait_until(lambda: set(read_states(app.backend, ids).values()) <= FINAL, "all calls have their answers")
        except BenchError as error:
            states = Counter(read_states(app.backend, ids).values())
            rows = {state: self._count_rows(state) for state in ("pending", "sending", "sent", "refused", "unknown")}
            raise BenchError(f"{error}; calls: {dict(states)}, deliveries: {rows}") from None

    def _tell(self, app: Celery, results: list[AsyncResult], before: int, seconds: float) -> Burst:
        states = Counter(read_states(app.backend, [result.id for result in results]).values())
        taken = [mail["message_id"] for mail in self.smtp.taken()[before:]]
        for number, result in enumerate(results, start=1):
            if result.state == "SUCCESS" and result.result["request_id"] != number:
                raise BenchError(f"call {number} got the result of another one: {result.result}")
        return Burst(states, taken, seconds)

    def _count_rows(self, state: str) -> int:
        statement = f"SELECT count(*) FROM `{self.database}`.mail_delivery WHERE state = '{state}'"
        return int(self.mariadb.execute(statement)[0][0])


def _kill_all(workers: list[ServerProcess]) -> None:
    """Kill workers and their children, also those that go on without their worker."""
    parents = [psutil.Process(worker.pid) for worker in workers]
    children = [child for parent in parents for child in parent.children(recursive=True)]
    # Parents first: none finds out that its child is gone, none makes another one.
    for process in [*parents, *children]:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    for worker in workers:
        worker.kill()


def _wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"not within {LIMIT:g} s: {what}")
        time.sleep(0.25)
