"""A failing task waits exactly as long as Celery would have it wait."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from math import ceil
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import Reject, Retry
from hypothesis import given, settings
from hypothesis import strategies as st

from shim import FlowTask
from shim.context import FlowContext
from shim.retries import decide, delay_seconds

PolicyError = type("PolicyError", (Exception,), {})
OtherError = type("OtherError", (Exception,), {})

OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "max_retries": st.none() | st.integers(0, 6),
        "default_retry_delay": st.integers(0, 300),
        "autoretry_for": st.sampled_from([(), (PolicyError,), (Exception,)]),
        "dont_autoretry_for": st.sampled_from([(), (OtherError,)]),
        "retry_backoff": st.booleans() | st.integers(0, 20) | st.floats(0.5, 3),
        "retry_backoff_max": st.integers(1, 700),
        "retry_jitter": st.booleans(),
        "retry_kwargs": st.sampled_from([{}, {"max_retries": 2}, {"countdown": 7}]),
    },
)
CALLS = st.one_of(
    st.none(),
    st.fixed_dictionaries(
        {},
        optional={
            "countdown": st.integers(0, 500),
            "max_retries": st.integers(0, 6),
            "exc": st.just(OtherError("exc")),
        },
    ),
)


def nothing(self: Any) -> None: ...


def raising(error: Exception) -> None:
    raise error


def celerys_answer(options: dict[str, Any], retries: int, error: Exception, call: dict[str, Any] | None) -> Exception:
    """Give what Celery itself raises when an attempt fails: a Retry with its countdown, or the final error."""
    app = Celery(set_as_current=False)

    def body(self: Any) -> None:
        if call is not None:
            raise self.retry(**call)
        raise error

    task = app.task(bind=True, shared=False, name="sample", **options)(body)
    # Celery only says how long it waits when it does not send; as in `apply`, which sends nothing.
    task.push_request(id="1", retries=retries, called_directly=False, is_eager=True, args=(), kwargs={})
    random.seed(1)
    try:
        task.run()
    except Exception as raised:  # noqa: BLE001
        return raised
    raise AssertionError("the body always raises")


def our_answer(options: dict[str, Any], retries: int, error: Exception, call: dict[str, Any] | None) -> Exception:
    app = Celery(set_as_current=False)
    task = app.task(bind=True, shared=False, name="sample", base=FlowTask, **options)(nothing)
    task.request_stack.push(FlowContext(id="1", retries=retries, called_directly=False, args=(), kwargs={}))
    random.seed(1)
    try:
        if call is None:
            raising(error)
        else:
            task.retry(**call)
    except Exception as raised:  # noqa: BLE001
        return decide(task, raised)
    raise AssertionError("both raise")


@settings(deadline=None)
@given(
    options=OPTIONS, retries=st.integers(0, 7), error=st.sampled_from([PolicyError("p"), OtherError("o")]), call=CALLS
)
def test_every_combination_of_options_decides_and_waits_as_celery(
    options: dict[str, Any], retries: int, error: Exception, call: dict[str, Any] | None
) -> None:
    expected = celerys_answer(options, retries, error, call)
    decided = our_answer(options, retries, error, call)

    assert type(decided) is type(expected)
    assert str(decided) == str(expected)
    if isinstance(expected, Retry):
        assert isinstance(decided, Retry)
        assert decided.when == expected.when
        assert delay_seconds(decided) == ceil(expected.when or 0)


def attempts(task: Any, error: Exception) -> Iterator[Exception]:
    retries = 0
    while True:
        task.request_stack.push(FlowContext(id="1", retries=retries, called_directly=False, args=(), kwargs={}))
        try:
            raising(error)
        except Exception as raised:  # noqa: BLE001
            yield decide(task, raised)
        retries += 1


def test_without_a_maximum_retries_never_end() -> None:
    app = Celery(set_as_current=False)
    task = app.task(bind=True, shared=False, base=FlowTask, autoretry_for=(ValueError,), max_retries=None)(nothing)
    ends = attempts(task, ValueError("again"))
    assert all(isinstance(next(ends), Retry) for _ in range(500))


def test_a_rejection_is_never_retried() -> None:
    app = Celery(set_as_current=False)
    task = app.task(bind=True, shared=False, base=FlowTask, autoretry_for=(Exception,))(nothing)
    task.request_stack.push(FlowContext(id="1", called_directly=False))
    rejection = Reject("no")
    assert decide(task, rejection) is rejection


@pytest.mark.parametrize("zone", [UTC, None])
def test_an_eta_is_waited_for(zone: Any) -> None:
    now = datetime(2026, 11, 22, 15, 0, tzinfo=UTC)
    eta = (now + timedelta(seconds=90.5)).replace(tzinfo=zone)
    assert delay_seconds(Retry(when=eta), now) == 91
    assert delay_seconds(Retry(when=now - timedelta(hours=1)), now) == 0
