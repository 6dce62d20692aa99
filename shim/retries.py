"""Celery's retry arithmetic: Prefect does the waiting; how long, and whether at all, is decided here."""

from datetime import UTC, datetime
from math import ceil
from typing import Any

from celery import Task
from celery.exceptions import Ignore, Reject, Retry
from celery.utils.time import get_exponential_backoff_interval

# Stands for "without end" where Prefect wants a number of retries.
ENDLESS = 2**31 - 1


def decide(task: Task, error: Exception) -> Exception:
    """Say how an attempt ends whose body raised.

    Must be called while the attempt's request is on the task's request stack: the retries so far are read from there.

    Args:
        task: The task.
        error: What its body raised.

    Returns:
        A `celery.exceptions.Retry` when the task is to run again, otherwise the error that the attempt ends with.
    """
    if isinstance(error, Ignore | Reject | Retry) or not _is_retried(task, error):
        return error
    options: dict[str, Any] = dict(getattr(task, "retry_kwargs", {}))
    backoff = float(getattr(task, "retry_backoff", False))
    if backoff:
        options["countdown"] = get_exponential_backoff_interval(
            factor=int(max(1.0, backoff)),
            retries=task.request.retries,
            maximum=int(getattr(task, "retry_backoff_max", 600)),
            full_jitter=getattr(task, "retry_jitter", True),
        )
    if hasattr(task, "override_max_retries"):
        # Left behind by a `self.retry(max_retries=...)` of this attempt.
        options["max_retries"] = task.override_max_retries
    try:
        task.retry(exc=error, **options)
    except Exception as decided:  # noqa: BLE001 - the decision is the exception: Retry, or what to fail with
        return decided
    finally:
        if hasattr(task, "override_max_retries"):
            del task.override_max_retries
    raise AssertionError("Task.retry returned although it was asked to raise")


def _is_retried(task: Task, error: Exception) -> bool:
    wanted = tuple(getattr(task, "autoretry_for", ()))
    unwanted = tuple(getattr(task, "dont_autoretry_for", ()))
    return isinstance(error, wanted) and not isinstance(error, unwanted)


def delay_seconds(retry: Retry, now: datetime | None = None) -> int:
    """Give the time that a retry waits, in whole seconds as Prefect counts (never shorter than asked for).

    Args:
        retry: What `Task.retry` raised; its `when` is a countdown in seconds or a point in time.
        now: The present, for tests.
    """
    when = retry.when
    if isinstance(when, datetime):
        aware = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (aware - (now or datetime.now(UTC))).total_seconds()
    else:
        seconds = float(when or 0)
    return max(0, ceil(seconds))
