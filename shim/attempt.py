"""One attempt of a task's body inside a flow run: request, handlers and signals as Celery's own tracer orders them."""

import logging
from collections.abc import Callable
from typing import Any, Self

from billiard.einfo import ExceptionInfo
from celery import Task, signals, states
from celery._state import _task_stack
from celery.exceptions import Ignore, Reject, Retry
from kombu.exceptions import EncodeError
from kombu.utils.json import dumps

from shim.context import FlowContext, change_arguments
from shim.errors import ArgumentInvalid
from shim.outcome import Outcome
from shim.retries import decide

logger = logging.getLogger(__name__)


class Attempt:
    """The surroundings of one execution of a body; a context manager that holds the task's request while it lasts.

    Args:
        task: The Celery task.
        request: The attempt's request.
    """

    def __init__(self, task: Task, request: FlowContext) -> None:
        self.task = task
        self.request = request
        self.outcome: Outcome | None = None

    def __enter__(self) -> Self:
        _task_stack.push(self.task)
        self.task.request_stack.push(self.request)
        signals.task_prerun.send(
            sender=self.task,
            task_id=self.request.id,
            task=self.task,
            args=self.request.args,
            kwargs=self.request.kwargs,
        )
        return self

    def __exit__(self, *_: object) -> None:
        outcome = self.outcome or Outcome(states.FAILURE, None)
        try:
            signals.task_postrun.send(
                sender=self.task,
                task_id=self.request.id,
                task=self.task,
                args=self.request.args,
                kwargs=self.request.kwargs,
                retval=outcome.value,
                state=outcome.state,
            )
        finally:
            self.task.request_stack.pop()
            _task_stack.pop()

    @property
    def soft_limit(self) -> float | None:
        """Seconds until `SoftTimeLimitExceeded`: the call's own limit, or the task's."""
        return self.request.soft_time_limit or self.task.soft_time_limit  # type: ignore[no-any-return]

    @property
    def hard_limit(self) -> float | None:
        """Seconds until the process is killed: the call's own limit, or the task's."""
        return self.request.time_limit or self.task.time_limit  # type: ignore[no-any-return]

    def before_start(self) -> None:
        """Call the task's `before_start` handler; what it raises fails the attempt."""
        self.task.before_start(self.request.id, self.request.args, self.request.kwargs)

    def succeed(self, value: Any) -> Outcome:
        """Conclude an attempt whose body returned.

        Args:
            value: What it returned.
        """
        if self.request.call is not None:
            try:
                _check_encodes(self.task.name, value)
            except EncodeError as error:
                return self.fail(error)
        self.outcome = Outcome(states.SUCCESS, value, children=self._children())
        self._call(self.task.on_success, value, self.request.id, self.request.args, self.request.kwargs)
        signals.task_success.send(sender=self.task, result=value)
        self._after_return(self.outcome, None)
        return self.outcome

    def fail(self, error: Exception) -> Outcome:
        """Conclude an attempt whose body raised; to be called while the exception is being handled.

        Args:
            error: What it raised.
        """
        # Arguments were refused before the body began, a result after it ended: Celery retries failures of the body.
        decided = error if isinstance(error, ArgumentInvalid | EncodeError) else decide(self.task, error)
        info = ExceptionInfo((type(decided), decided, decided.__traceback__ or error.__traceback__))
        if isinstance(decided, Retry):
            self.outcome = Outcome(states.RETRY, decided, info.traceback, self._children())
            self._retry(decided, info)
        elif isinstance(decided, Reject):
            self.outcome = Outcome(states.REJECTED, decided, info.traceback)
        elif isinstance(decided, Ignore):
            self.outcome = Outcome(states.IGNORED, decided, info.traceback)
        else:
            self.outcome = Outcome(states.FAILURE, decided, info.traceback, self._children())
            self._failure(decided, info)
            self._after_return(self.outcome, info)
        return self.outcome

    def _children(self) -> list[Any]:
        return [child.as_tuple() for child in self.request.children]

    def _retry(self, retry: Retry, info: ExceptionInfo) -> None:
        change_arguments(self.request, retry)
        self._call(self.task.on_retry, retry.exc, self.request.id, self.request.args, self.request.kwargs, info)
        signals.task_retry.send(sender=self.task, request=self.request, reason=retry, einfo=info)

    def _failure(self, error: Exception, info: ExceptionInfo) -> None:
        self._call(self.task.on_failure, error, self.request.id, self.request.args, self.request.kwargs, info)
        signals.task_failure.send(
            sender=self.task,
            task_id=self.request.id,
            exception=error,
            args=self.request.args,
            kwargs=self.request.kwargs,
            traceback=error.__traceback__,
            einfo=info,
        )

    def _after_return(self, outcome: Outcome, info: ExceptionInfo | None) -> None:
        state, value = outcome.state, outcome.value
        self._call(self.task.after_return, state, value, self.request.id, self.request.args, self.request.kwargs, info)

    def _call(self, handler: Callable[..., None], *arguments: Any) -> None:
        # The attempt has ended; a handler that fails can no longer change how.
        try:
            handler(*arguments)
        except Exception:
            logger.exception("Task %s[%s]: its handler %s failed", self.task.name, self.request.id, handler.__name__)


def _check_encodes(task_name: str, value: Any) -> None:
    try:
        dumps(value)
    except (TypeError, ValueError) as error:
        raise EncodeError(f"{task_name} returned a value that JSON cannot carry: {error}") from error
