"""Handlers and signals come in the order in which Celery's own tracer sends them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from celery import Celery, signals
from celery.app.trace import build_tracer
from celery.exceptions import Ignore, Reject

from shim import FlowTask
from shim.attempt import Attempt
from shim.context import FlowContext

SIGNALS = ["task_prerun", "task_postrun", "task_success", "task_failure", "task_retry"]


class Recording(FlowTask):
    """Notes its handlers."""

    abstract = True
    seen: list[str]

    def before_start(self, *details: Any) -> None:
        self.seen.append("before_start")

    def on_success(self, retval: Any, *details: Any) -> None:
        self.seen.append(f"on_success {retval}")

    def on_failure(self, exc: Any, *details: Any) -> None:
        self.seen.append(f"on_failure {exc}")

    def on_retry(self, exc: Any, *details: Any) -> None:
        self.seen.append(f"on_retry {exc}")

    def after_return(self, status: str, retval: Any, *details: Any) -> None:
        self.seen.append(f"after_return {status} {retval}")


def succeed(self: Any) -> str:
    return "value"


def fail(self: Any) -> None:
    raise ValueError("broken")


def retry(self: Any) -> None:
    raise self.retry(exc=ValueError("later"), countdown=5)


def ignore(self: Any) -> None:
    raise Ignore("not now")


def reject(self: Any) -> None:
    raise Reject("no", requeue=False)


@contextmanager
def recorded(task: Any) -> Iterator[list[str]]:
    """Give what a task's handlers and Celery's signals note, in order."""
    seen: list[str] = []
    type(task).seen = seen
    receivers: dict[str, Callable[..., None]] = {}
    for name in SIGNALS:

        def receive(_name: str = name, **details: Any) -> None:
            seen.append(f"{_name} {details.get('state', '')}".strip())

        receivers[name] = receive
        getattr(signals, name).connect(receive, sender=task, weak=False)
    try:
        yield seen
    finally:
        for name, receive in receivers.items():
            getattr(signals, name).disconnect(receive, sender=task)


def make(body: Callable[..., Any]) -> Any:
    app = Celery(set_as_current=False, broker="memory://", backend="cache+memory://")
    task = app.task(bind=True, shared=False, name="sample.body", base=Recording)(body)
    return app.tasks[task.name]


@pytest.mark.parametrize("body", [succeed, fail, retry, ignore, reject])
def test_handlers_and_signals_are_celerys(body: Callable[..., Any]) -> None:
    stock = make(body)
    with recorded(stock) as expected:
        tracer = build_tracer(stock.name, stock, app=stock.app, eager=True)
        tracer("id-1", (), {}, {"id": "id-1", "is_eager": True, "delivery_info": {}})

    ours = make(body)
    with recorded(ours) as seen:
        request = FlowContext(id="id-1", args=(), kwargs={}, called_directly=False, delivery_info={})
        with Attempt(ours, request) as attempt:
            try:
                attempt.before_start()
                value = body(ours)
            except Exception as error:  # noqa: BLE001
                attempt.fail(error)
            else:
                attempt.succeed(value)

    assert seen == expected
    assert ours.request_stack.top is None


def test_a_handler_that_fails_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    task = make(succeed)

    def explode(*details: Any) -> None:
        raise RuntimeError("handler")

    task.on_success = explode
    with recorded(task), Attempt(task, FlowContext(id="id-1", args=(), kwargs={}, called_directly=False)) as attempt:
        assert attempt.succeed("value").state == "SUCCESS"
    assert "its handler explode failed" in caplog.text
