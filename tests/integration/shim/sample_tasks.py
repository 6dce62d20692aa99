"""Tasks that the shim's tests call. Their effects are rows in a table, so that tests can count them."""

import asyncio
import os
import sqlite3
import time
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded

from shim import Batch, shared_task

MODULE = "tests.integration.shim.sample_tasks"
EFFECTS = "CREATE TABLE IF NOT EXISTS effect (call text, what text, retries int, pid int, at real)"


class SampleError(Exception):
    """An error that callers of the sample tasks know."""


class RunningTask(Task):  # type: ignore[misc]
    """A base class of the kind that old projects have, with handlers of its own."""

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        record(task_id, "before_start")

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        record(task_id, f"on_success {retval}")

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        record(task_id, f"on_retry {exc}")

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        record(task_id, f"on_failure {exc}")

    def after_return(self, status: str, *details: Any) -> None:
        record(details[1], f"after_return {status}")


def record(call: str, what: str, retries: int = 0) -> None:
    with closing(sqlite3.connect(os.environ["EFFECTS_DATABASE"], timeout=60)) as connection, connection:
        connection.execute(EFFECTS)
        connection.execute("INSERT INTO effect VALUES (?, ?, ?, ?, ?)", (call, what, retries, os.getpid(), time.time()))


def effects_of(call: str) -> list[str]:
    with closing(sqlite3.connect(os.environ["EFFECTS_DATABASE"], timeout=60)) as connection:
        return [what for (what,) in connection.execute("SELECT what FROM effect WHERE call = ?", (call,))]


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task(bind=True)
def echo(self: Any, value: Any, **named: Any) -> Any:
    record(self.request.id, type(value).__name__)
    return value


@shared_task
def total(values: list[int]) -> int:
    return sum(values)


@shared_task(bind=True)
def sleep(self: Any, seconds: float = 1.0) -> str:
    record(self.request.id, "sleep", self.request.retries)
    time.sleep(seconds)
    return "slept"


@shared_task(bind=True)
async def sleep_async(self: Any, seconds: float = 1.0) -> str:
    record(self.request.id, "sleep", self.request.retries)
    await asyncio.sleep(seconds)
    return "slept"


@shared_task(bind=True, acks_late=True, reject_on_worker_lost=True)
def sleep_until_finished(self: Any, seconds: float = 1.0) -> str:
    record(self.request.id, "sleep", self.request.retries)
    time.sleep(seconds)
    return "slept"


@shared_task(throws=(SampleError,))
def fail(text: str) -> None:
    raise SampleError(text, 42)


@shared_task(bind=True, autoretry_for=(SampleError,), max_retries=3, default_retry_delay=1, base=RunningTask)
def fail_some_times(self: Any, times: int) -> int:
    if self.request.retries < times:
        raise SampleError(f"attempt {self.request.retries}")
    return int(self.request.retries)


@shared_task(bind=True, max_retries=5)
def retry_later(self: Any, seconds: int) -> str:
    record(self.request.id, "retry_later", self.request.retries)
    if self.request.retries == 0:
        raise self.retry(countdown=seconds, exc=SampleError("later"))
    return "done"


@shared_task(bind=True, default_retry_delay=0)
def count_down(self: Any, number: int) -> int:
    if number > 0:
        raise self.retry(args=(number - 1,))
    return int(self.request.retries)


@shared_task(bind=True, time_limit=2)
def spin(self: Any) -> None:
    record(self.request.id, "spin")
    while True:
        pass


@shared_task(bind=True, soft_time_limit=1)
def stop_in_time(self: Any) -> str:
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "caught"
    return "not stopped"


@shared_task(bind=True, soft_time_limit=1)
async def stop_in_time_async(self: Any) -> str:
    try:
        await asyncio.sleep(30)
    except SoftTimeLimitExceeded:
        return "caught"
    return "not stopped"


@shared_task(bind=True)
def show_request(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    request = self.request
    names = ["id", "retries", "args", "kwargs", "hostname", "delivery_info", "root_id", "parent_id", "group", "headers"]
    shown = {name: getattr(request, name) for name in names}
    return {**shown, "limits": [request.time_limit, request.soft_time_limit], "max_retries": self.max_retries}


@shared_task(bind=True)
def report_progress(self: Any) -> str:
    self.update_state(state="PROGRESS", meta={"done": 3})
    time.sleep(3)
    return "reported"


@shared_task(bind=True)
def ignore(self: Any) -> None:
    self.update_state(state="KEPT", meta={"as": "the body left it"})
    raise Ignore


@shared_task
def reject() -> None:
    raise Reject("not for me", requeue=False)


@shared_task(bind=True)
def call_another(self: Any, x: int) -> str:
    return str(add.delay(x, x).id)


@shared_task(bind=True, rate_limit="30/m")
def limited(self: Any) -> None:
    record(self.request.id, "limited")


@shared_task
def typed(amount: Decimal, at: datetime, counts: list[int], name: str | None = None) -> list[Any]:
    return [amount, at, counts, name]


@shared_task(bind=True)
async def note_time(self: Any) -> None:
    record(self.request.id, "began")


@shared_task
def return_object() -> Any:
    return object()


@shared_task
def undeployed() -> None:
    """A task that no deployment runs."""


@shared_task(bind=True, flow="tests.integration.shim.sample_flows.double", max_retries=2, default_retry_delay=1)
def double(self: Any, number: int) -> int:
    """Double a number."""
    raise NotImplementedError


@shared_task(
    bind=True,
    flow="tests.integration.shim.sample_flows.note",
    batch=Batch(flow="tests.integration.shim.sample_flows.note_all", size=40),
    max_retries=2,
    default_retry_delay=1,
    autoretry_for=(SampleError,),
    acks_late=True,
    reject_on_worker_lost=True,
)
def note(self: Any, text: str, *, failures: int = 0, seconds: float = 0.0) -> str:
    """Note a text, after a number of failures and some time."""
    raise NotImplementedError


@shared_task(bind=True, flow="tests.integration.shim.sample_flows.note", batch=Batch(MODULE, size=2))
def note_undeployed(self: Any, text: str, *, failures: int = 0, seconds: float = 0.0) -> str:
    """A task whose batches no deployment runs."""
    raise NotImplementedError
