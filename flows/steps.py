"""Steps: the Prefect tasks inside a flow, over plain functions of `hr/`."""

import functools
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State, TaskRun
from prefect.tasks import Task
from sqlalchemy.exc import DBAPIError

from errors import AccessDenied, DatabaseUnreachable, EncryptionRefused, SchemaMismatch, SettingsError, SourceError
from tasks.failures import PermanentFailure

P = ParamSpec("P")
R = TypeVar("R")
StepFunction = Callable[P, Coroutine[Any, Any, R]]

# Seconds before a step is tried again by itself, before the run as a whole is: a database that hiccups or restarts.
RETRY_DELAYS = [5, 20]

# Trying again does not help against these: somebody has to change a setting, a right, a table or a mapping.
PERMANENT = (AccessDenied, EncryptionRefused, SchemaMismatch, SettingsError, SourceError)


def database_step(
    name: str, run_name: str | None = None
) -> Callable[[StepFunction[P, R]], Task[P, Coroutine[Any, Any, R]]]:
    """Make an asynchronous function a step that is tried again after a database's error that may pass, and only then.

    Args:
        name: The step's name.
        run_name: Name of its runs, with the function's parameters in braces; by default the step's name.
    """

    def decorate(function: StepFunction[P, R]) -> Task[P, Coroutine[Any, Any, R]]:
        return task(
            name=name,
            task_run_name=run_name or name,
            # Steps take objects that live in this process, and their effects are not to be skipped.
            cache_policy=NO_CACHE,
            retries=len(RETRY_DELAYS),
            retry_delay_seconds=[*map(float, RETRY_DELAYS)],
            retry_condition_fn=_is_database_error,
        )(function)

    return decorate


def _is_database_error(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    return isinstance(state.data, DBAPIError | DatabaseUnreachable) and not isinstance(state.data, PERMANENT)


def fail_for_good(function: StepFunction[P, R]) -> StepFunction[P, R]:
    """Make a flow's errors that only somebody can mend the task's `PermanentFailure`, so that the run is not retried.

    Args:
        function: The flow's function.
    """

    @functools.wraps(function)
    async def run(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return await function(*args, **kwargs)
        except PERMANENT as error:
            raise PermanentFailure(f"{type(error).__name__}: {error}") from error

    return run
