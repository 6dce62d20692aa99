"""From a task's contract and an ordinary function to the Prefect flow that runs it."""

import inspect
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial, wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from celery import Task

from shim.attempt import Attempt
from shim.call import Call
from shim.conclusion import conclude, outcome_artifact, policy_after
from shim.context import build_request
from shim.errors import ArgumentInvalid, FlowMissing, ShimError
from shim.hard_limit import hard_limit
from shim.limits import call_limited, run_limited
from shim.retries import ENDLESS
from shim.signatures import call_signature, check_signatures

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import PrefectClient, SyncPrefectClient

# Options of a flow that follow from the task's contract.
CONTRACT_OPTIONS = {"retries", "retry_delay_seconds", "timeout_seconds"}


def make_flow(
    task: Task, function: Callable[..., Any], *, bound: bool, name: str | None, **options: Any
) -> "Flow[..., Any]":
    """Make the flow that runs a task's body, with the task's retries and limits.

    Args:
        task: The Celery task whose contract the flow fulfils.
        function: The body, `async def` or not.
        bound: Whether the body takes the task as its first argument.
        name: The flow's name; by default the function's.
        options: Options of `prefect.flow`, apart from those that follow from the contract.

    Returns:
        A Prefect flow with the function's name, docstring and signature.

    Raises:
        ShimError: An option is given that the contract already decides.
        SignatureMismatch: The function does not take what callers of the task may pass.
    """
    from prefect import Flow
    from prefect.utilities.hashing import file_hash

    decided = CONTRACT_OPTIONS & options.keys()
    if decided:
        raise ShimError(
            f"the flow of {task.name} sets {', '.join(sorted(decided))}: set the Celery option on the task instead"
        )
    if not bound:
        check_signatures(task.name, task.call_signature, function)
    # Checked by the attempt itself: it also takes arguments that travel beside the run's parameters.
    validates = options.pop("validate_parameters", True)
    source = inspect.getsourcefile(function)
    options.setdefault("version", file_hash(source) if source else None)
    made: Flow[..., Any] = Flow(
        _attempts_of(task, function, bound=bound, validates=validates),
        name=name or function.__name__.replace("_", "-"),
        retries=ENDLESS if task.max_retries is None else task.max_retries,
        retry_delay_seconds=task.default_retry_delay,
        validate_parameters=False,
        **options,
    )
    made.celery_task = task.name  # type: ignore[attr-defined]  # `load_flow` tells by it that this is a task's flow
    return made


def load_flow(entrypoint: str) -> "Flow[..., Any]":
    """Import the flow that a task names.

    Args:
        entrypoint: The flow's dotted path, for example `flows.hris.replicate`.

    Returns:
        The flow.

    Raises:
        FlowMissing: There is no such object, or it is not a flow of a task.
    """
    module_name, _, attribute = entrypoint.rpartition(".")
    try:
        found = getattr(import_module(module_name), attribute)
    except (ModuleNotFoundError, AttributeError) as error:
        raise FlowMissing(
            f"the flow {entrypoint!r} that a task names cannot be imported: {error}. Correct `flow=` at the task, "
            "or run this where the flows are installed"
        ) from error
    if not hasattr(found, "celery_task"):
        raise FlowMissing(
            f"{entrypoint} is not the flow of a task: decorate the function there with the task's `.flow()`"
        )
    return found  # type: ignore[no-any-return]


def _attempts_of(task: Task, function: Callable[..., Any], *, bound: bool, validates: bool) -> Callable[..., Any]:
    signature = call_signature(function, bound=bound)
    body = partial(function, task) if bound else function

    @wraps(function)
    async def attempt_async(*args: Any, **kwargs: Any) -> Any:
        run = _current_run()
        if run is None:
            return await body(*args, **kwargs)
        client = cast("PrefectClient", run.client)
        with _start(task, run) as attempt, _hard_limit(attempt, client):
            try:
                args, kwargs = _arguments(attempt, run, signature, args, kwargs, validates=validates)
                attempt.before_start()
                value = await run_limited(body(*args, **kwargs), attempt.soft_limit)
            except Exception as error:  # noqa: BLE001 - Celery's tracer takes every exception of a body
                outcome = attempt.fail(error)
            else:
                outcome = attempt.succeed(value)
        # First of all: whatever fails from here on, the body runs again only if that was decided.
        policy = policy_after(outcome, run.flow_run)
        if policy is not None:
            await client.update_flow_run(run.flow_run.id, empirical_policy=policy)
        if attempt.request.call is not None:
            await client.create_artifact(outcome_artifact(outcome, run.flow_run))
        return conclude(outcome)

    @wraps(function)
    def attempt_sync(*args: Any, **kwargs: Any) -> Any:
        run = _current_run()
        if run is None:
            return body(*args, **kwargs)
        client = cast("SyncPrefectClient", run.client)
        with _start(task, run) as attempt, _hard_limit(attempt, client):
            try:
                args, kwargs = _arguments(attempt, run, signature, args, kwargs, validates=validates)
                attempt.before_start()
                value = call_limited(partial(body, *args, **kwargs), attempt.soft_limit)
            except Exception as error:  # noqa: BLE001 - Celery's tracer takes every exception of a body
                outcome = attempt.fail(error)
            else:
                outcome = attempt.succeed(value)
        # First of all: whatever fails from here on, the body runs again only if that was decided.
        policy = policy_after(outcome, run.flow_run)
        if policy is not None:
            client.update_flow_run(run.flow_run.id, empirical_policy=policy)
        if attempt.request.call is not None:
            client.create_artifact(outcome_artifact(outcome, run.flow_run))
        return conclude(outcome)

    chosen: Callable[..., Any] = attempt_async if inspect.iscoroutinefunction(function) else attempt_sync
    chosen.__signature__ = signature  # type: ignore[attr-defined]
    return chosen


def _current_run() -> Any:
    """Give Prefect's context of the running flow run, or None when the function is called as an ordinary function."""
    from prefect.context import FlowRunContext

    run = FlowRunContext.get()
    return None if run is None or run.flow_run is None else run


def _start(task: Task, run: Any) -> Attempt:
    call = Call.from_context(run.flow_run.context, _read_artifact)
    return Attempt(task, build_request(task, run.flow_run, call))


def _read_artifact(artifact_id: str) -> str:
    from prefect.client.orchestration import get_client

    with get_client(sync_client=True) as client:
        response = client.request("GET", "/artifacts/{id}", path_params={"id": artifact_id})
    return str(response.json()["data"])


def _hard_limit(attempt: Attempt, client: Any) -> AbstractContextManager[None]:
    return hard_limit(attempt.hard_limit, attempt.request.flow_run_id, str(client.api_url))


def _arguments(
    attempt: Attempt,
    run: Any,
    signature: inspect.Signature,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    validates: bool,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the arguments of the body: the caller's own where there is a caller, checked and cast as annotated."""
    from prefect.exceptions import ParameterTypeError
    from prefect.utilities.callables import parameters_to_args_kwargs

    if attempt.request.has_own_arguments:
        promised = attempt.task.call_signature.parameters
        own = {name: value for name, value in kwargs.items() if name not in promised}
        args, kwargs = tuple(attempt.request.args), {**own, **attempt.request.kwargs}
    try:
        parameters = dict(signature.bind(*args, **kwargs).arguments)
    except TypeError as error:
        raise ArgumentInvalid(f"{attempt.task.name} was called with wrong arguments: {error}") from None
    if not validates:
        return args, kwargs
    try:
        parameters = run.flow.validate_parameters(parameters)
    except ParameterTypeError as error:
        raise ArgumentInvalid(f"{attempt.task.name} was called with wrong arguments: {error}") from error
    return parameters_to_args_kwargs(run.flow.fn, parameters)
