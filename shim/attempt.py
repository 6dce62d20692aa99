"""One attempt of a task's body inside a flow run: request, handlers and signals as Celery's own tracer orders them."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

from billiard.einfo import ExceptionInfo
from celery import Task, signals, states
from celery._state import _task_stack
from celery.exceptions import Ignore, Reject, Retry

from shim.context import FlowContext
from shim.errors import ArgumentInvalid
from shim.retries import decide

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Outcome:
    """How an attempt ended.

    Attributes:
        state: Celery's name for it: SUCCESS, FAILURE, RETRY, IGNORED or REJECTED.
        value: What the body returned, or the exception that ended it.
        traceback: The exception's traceback as text.
    """

    state: str
    value: Any
    traceback: str | None = None

    @property
    def error(self) -> Exception | None:
        """The exception to report, or None after a success: for a retry its cause, as Celery shows it."""
        if self.state == states.SUCCESS:
            return None
        if isinstance(self.value, Retry) and isinstance(self.value.exc, Exception):
            return self.value.exc
        return self.value  # type: ignore[no-any-return]


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

    def before_start(self) -> None:
        """Call the task's `before_start` handler; what it raises fails the attempt."""
        self.task.before_start(self.request.id, self.request.args, self.request.kwargs)

    def succeed(self, value: Any) -> Outcome:
        """Conclude an attempt whose body returned.

        Args:
            value: What it returned.
        """
        self.outcome = Outcome(states.SUCCESS, value)
        self._call(self.task.on_success, value, self.request.id, self.request.args, self.request.kwargs)
        signals.task_success.send(sender=self.task, result=value)
        self._after_return(self.outcome, None)
        return self.outcome

    def fail(self, error: Exception) -> Outcome:
        """Conclude an attempt whose body raised; to be called while the exception is being handled.

        Args:
            error: What it raised.
        """
        # What was refused before the body began is no failure of the body: Celery would not have started it.
        decided = error if isinstance(error, ArgumentInvalid) else decide(self.task, error)
        info = ExceptionInfo((type(decided), decided, decided.__traceback__ or error.__traceback__))
        if isinstance(decided, Retry):
            self.outcome = Outcome(states.RETRY, decided, info.traceback)
            self._retry(decided, info)
        elif isinstance(decided, Reject):
            self.outcome = Outcome(states.REJECTED, decided, info.traceback)
        elif isinstance(decided, Ignore):
            self.outcome = Outcome(states.IGNORED, decided, info.traceback)
        else:
            self.outcome = Outcome(states.FAILURE, decided, info.traceback)
            self._failure(decided, info)
            self._after_return(self.outcome, info)
        return self.outcome

    def _retry(self, retry: Retry, info: ExceptionInfo) -> None:
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
