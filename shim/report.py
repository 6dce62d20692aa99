"""What the gateway tells Celery about a call: result backend, canvas, worker state, events.

The same steps in the same order as Celery's own tracer, without the handlers and signals of the task: those belong to
the process that runs the body. Only where that process was killed are they called here, as Celery's main process does.
"""

import logging
import time
from contextlib import contextmanager
from typing import Any

from billiard.einfo import ExceptionInfo
from celery import group, signals, states
from celery._state import _task_stack
from celery.canvas import maybe_signature
from celery.exceptions import Retry, TimeLimitExceeded, WorkerLostError
from celery.utils.saferepr import saferepr
from celery.worker.state import task_accepted, task_ready

from shim.errors import RunFailed
from shim.intake import FlowRequest
from shim.outcome import Outcome

logger = logging.getLogger(__name__)


def started(request: FlowRequest, run_id: str, run_url: str | None) -> None:
    """Report that the body runs; the run's address is part of the state's meta data."""
    request.time_start = time.time()
    task_accepted(request)
    request.send_event("task-started", flow_run_id=run_id)
    task = request.task
    # A body that has set a state of its own already is not set back.
    untouched = {states.PENDING, states.RECEIVED, states.RETRY}
    if task.track_started and not request.ignore_result and task.backend.get_state(request.id) in untouched:
        meta = {"pid": None, "hostname": request.hostname, "flow_run_id": run_id, "flow_run_url": run_url}
        task.backend.store_result(request.id, meta, states.STARTED, request=request._context)


def retrying(request: FlowRequest, outcome: Outcome | None, reason: str) -> None:
    """Report that the body failed and that another attempt follows.

    Args:
        request: The call's request.
        outcome: What the attempt left, if it could leave anything.
        reason: What Prefect says about the run's state.
    """
    error = Retry(reason) if outcome is None or outcome.error is None else outcome.error
    traceback = None if outcome is None else outcome.traceback
    if request.store_errors:
        request.task.backend.mark_as_retry(request.id, error, traceback, request=request._context)
    request.send_event("task-retried", exception=saferepr(error), traceback=traceback)


def succeeded(request: FlowRequest, outcome: Outcome) -> None:
    """Report what the body returned, and send on what the canvas wants done with it."""
    task, context = request.task, request._context
    context._children = outcome.child_results(request.app)
    with _request_of(task, context):
        # Before the result is stored, so that it lists them among its children.
        if not request.callbacks_sent:
            _send_callbacks(request, outcome.value)
            request.callbacks_sent = True
        task.backend.mark_as_done(request.id, outcome.value, context, store_result=not request.ignore_result)
    task_ready(request, successful=True)
    result = saferepr(outcome.value, task.resultrepr_maxsize)
    request.send_event("task-succeeded", result=result, runtime=_runtime(request))
    logger.info("Task %s[%s] succeeded: %s", request.name, request.id, result)


def failed(request: FlowRequest, error: Exception, traceback: str | None = None, *, killed: bool = False) -> None:
    """Report the error that ended the call.

    Args:
        request: The call's request.
        error: The error.
        traceback: Its traceback as text.
        killed: Whether the body's process could not call the task's failure handlers.
    """
    task, context = request.task, request._context
    with _request_of(task, context):
        task.backend.mark_as_failure(request.id, error, traceback, request=context, store_result=request.store_errors)
        if killed:
            _call_failure_handlers(request, error)
    task_ready(request)
    request.send_event("task-failed", exception=saferepr(error), traceback=traceback)
    logger.error("Task %s[%s] failed: %r", request.name, request.id, error)


def revoked(request: FlowRequest, reason: str, *, terminated: bool, expired: bool = False) -> None:
    """Report that the call was called off."""
    request._announce_revoked(reason, terminated, None, expired)
    logger.info("Task %s[%s] %s", request.name, request.id, reason)


def ignored(request: FlowRequest) -> None:
    """Strike a call whose body raised `Ignore`: its state stays as the body left it."""
    task_ready(request)
    logger.info("Task %s[%s] ignored", request.name, request.id)


def ended(request: FlowRequest, run: dict[str, Any], outcome: Outcome | None) -> None:
    """Report the end of a run.

    Args:
        request: The call's request.
        run: The flow run in its final state, as Prefect's API gives it.
        outcome: What its last attempt left, if it could leave anything.
    """
    kind, name, message = run["state_type"], run["state_name"], run["state"]["message"]
    if kind == "CANCELLED":
        revoked(request, "terminated", terminated=True)
    elif kind == "CRASHED":
        failed(request, worker_lost(run), killed=True)
    elif kind == "COMPLETED" and name == "Ignored":
        ignored(request)
    elif kind == "COMPLETED":
        # Somebody may have set the state by hand: then there is no outcome, and nothing was returned.
        succeeded(request, outcome or Outcome(states.SUCCESS, None))
    elif name == "TimedOut":
        failed(request, TimeLimitExceeded(request.time_limits[0] or request.task.time_limit), killed=True)
    elif outcome is not None and outcome.is_final and outcome.error is not None:
        failed(request, outcome.error, outcome.traceback)
    else:
        failed(request, RunFailed(f"flow run {run['id']} is {name}: {message}"))


def worker_lost(run: dict[str, Any]) -> WorkerLostError:
    """Give the error of a run whose process ended without a word."""
    return WorkerLostError(f"The process of flow run {run['id']} exited prematurely: {run['state']['message']}")


@contextmanager
def _request_of(task: Any, context: Any) -> Any:
    """Make a call the current one, so that what is sent meanwhile becomes its child."""
    context.called_directly = False
    _task_stack.push(task)
    task.request_stack.push(context)
    try:
        yield
    finally:
        task.request_stack.pop()
        _task_stack.pop()


def _send_callbacks(request: FlowRequest, value: Any) -> None:
    app, context = request.app, request._context
    priority = context.delivery_info.get("priority") if app.conf.task_inherit_parent_priority else None
    lineage = {"parent_id": request.id, "root_id": request.root_id or request.id, "priority": priority}
    callbacks = [maybe_signature(callback, app=app) for callback in context.callbacks or []]
    groups = [callback for callback in callbacks if isinstance(callback, group)]
    single = [callback for callback in callbacks if not isinstance(callback, group)]
    if len(single) > 1:
        groups.append(group(single, app=app))
        single = []
    for callback in [*groups, *single]:
        callback.apply_async((value,), **lineage)
    if context.chain:
        following = maybe_signature(context.chain[-1], app=app)
        following.apply_async((value,), chain=context.chain[:-1], **lineage)


def _call_failure_handlers(request: FlowRequest, error: Exception) -> None:
    task = request.task
    info = _exception_info(error)
    arguments = (request.id, request.args, request.kwargs)
    try:
        task.on_failure(error, *arguments, info)
        task.after_return(states.FAILURE, error, *arguments, info)
    except Exception:
        logger.exception("Task %s[%s]: a failure handler failed", request.name, request.id)
    signals.task_failure.send(
        sender=task,
        task_id=request.id,
        exception=error,
        args=request.args,
        kwargs=request.kwargs,
        traceback=error.__traceback__,
        einfo=info,
    )


def _runtime(request: FlowRequest) -> float:
    return time.time() - request.time_start if request.time_start else 0.0


def _exception_info(error: Exception) -> ExceptionInfo:
    """Give what handlers get of an error that was never raised here; they expect a traceback."""

    def fail() -> None:
        raise error

    try:
        fail()
    except type(error):
        return ExceptionInfo()
    raise AssertionError("the error was raised")
