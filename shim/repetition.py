"""Runs that have ended in Prefect although their call has not: they are executed again as the same run."""

from typing import Any

from celery import states

from shim import report
from shim.intake import FlowRequest
from shim.outcome import Outcome
from shim.runs import Runs


def begins_again(runs: Runs, request: FlowRequest, run: dict[str, Any], outcome: Outcome | None) -> bool:
    """Have a run executed again if its call is not over, and say whether it is.

    Args:
        runs: Prefect's server.
        request: The call's request.
        run: The flow run in its final state, as Prefect's API gives it.
        outcome: What its newest attempt left that could leave anything.
    """
    if run["state_type"] == "CRASHED":
        return _repeat_lost(runs, request, run)
    if run["state_name"] == "Failed" and outcome is not None:
        return _repeat_asked_for(runs, request, run, outcome)
    return False


def _repeat_lost(runs: Runs, request: FlowRequest, run: dict[str, Any]) -> bool:
    """Repeat a run whose process was lost, if the task asks for it."""
    task = request.task
    reason = f"The process was lost ({run['state']['message']}); the task is run again."
    retries = (request.request_dict.get("retries") or 0) + run["run_count"] - 1
    if task.retry_on_worker_lost and (task.max_retries is None or retries < task.max_retries):
        report.retrying(request, Outcome(states.RETRY, report.worker_lost(run)), reason)
        runs.run_again(run["id"], task.default_retry_delay, reason)
        return True
    if task.acks_late and task.reject_on_worker_lost:
        runs.run_again(run["id"], 0, reason)
        return True
    return False


def _repeat_asked_for(runs: Runs, request: FlowRequest, run: dict[str, Any], outcome: Outcome) -> bool:
    """Repeat a run that failed although its last attempt asked for another one.

    A failure that an attempt reports becomes AwaitingRetry. When the server dies after it has noted that and before it
    has answered, Prefect's client reports the failure once more, and from AwaitingRetry it is taken as it is.
    """
    if outcome.state != states.RETRY or outcome.attempt != run["run_count"]:
        return False
    reason = f"The attempt asked for another one, which the server missed: {run['state']['message']}"
    report.retrying(request, outcome, reason)
    runs.run_again(run["id"], run["empirical_policy"]["retry_delay"] or 0, reason)
    return True
