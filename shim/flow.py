"""From a task's contract and an ordinary function to the Prefect flow that runs it."""

import inspect
from collections.abc import Callable
from functools import partial, wraps
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from celery import Task, states
from celery.exceptions import Reject, Retry

from shim.attempt import Attempt, Outcome
from shim.context import build_request
from shim.encoding import read_arguments
from shim.errors import ArgumentInvalid, FlowMissing, ShimError
from shim.limits import call_limited, run_limited
from shim.retries import ENDLESS, delay_seconds
from shim.signatures import call_signature, check_signatures

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun, FlowRunPolicy

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
        from prefect.context import FlowRunContext

        run = FlowRunContext.get()
        if run is None or run.flow_run is None:
            return await body(*args, **kwargs)
        with _start(task, run.flow_run, kwargs) as attempt:
            try:
                args, kwargs = _arguments(run, signature, args, kwargs, validates=validates)
                attempt.before_start()
                value = await run_limited(body(*args, **kwargs), _soft_limit(attempt))
            except Exception as error:  # noqa: BLE001 - Celery's tracer takes every exception of a body
                outcome = attempt.fail(error)
            else:
                outcome = attempt.succeed(value)
        policy = _policy_after(outcome, run.flow_run)
        if policy is not None:
            client = cast("PrefectClient", run.client)
            await client.update_flow_run(run.flow_run.id, empirical_policy=policy)
        return _end(outcome)

    @wraps(function)
    def attempt_sync(*args: Any, **kwargs: Any) -> Any:
        from prefect.context import FlowRunContext

        run = FlowRunContext.get()
        if run is None or run.flow_run is None:
            return body(*args, **kwargs)
        with _start(task, run.flow_run, kwargs) as attempt:
            try:
                args, kwargs = _arguments(run, signature, args, kwargs, validates=validates)
                attempt.before_start()
                value = call_limited(partial(body, *args, **kwargs), _soft_limit(attempt))
            except Exception as error:  # noqa: BLE001 - Celery's tracer takes every exception of a body
                outcome = attempt.fail(error)
            else:
                outcome = attempt.succeed(value)
        policy = _policy_after(outcome, run.flow_run)
        if policy is not None:
            run.client.update_flow_run(run.flow_run.id, empirical_policy=policy)
        return _end(outcome)

    chosen: Callable[..., Any] = attempt_async if inspect.iscoroutinefunction(function) else attempt_sync
    chosen.__signature__ = signature  # type: ignore[attr-defined]
    return chosen


def _start(task: Task, flow_run: "FlowRun", parameters: dict[str, Any]) -> Attempt:
    args, kwargs = read_arguments(flow_run)
    return Attempt(task, build_request(task, flow_run, args, kwargs))


def _arguments(
    run: Any, signature: inspect.Signature, args: tuple[Any, ...], kwargs: dict[str, Any], *, validates: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    from prefect.exceptions import ParameterTypeError
    from prefect.utilities.callables import parameters_to_args_kwargs

    parameters = dict(signature.bind(*args, **kwargs).arguments)
    if not validates:
        return args, kwargs
    try:
        parameters = run.flow.validate_parameters(parameters)
    except ParameterTypeError as error:
        raise ArgumentInvalid(f"arguments of {run.flow.name} are not as its signature says: {error}") from error
    return parameters_to_args_kwargs(run.flow.fn, parameters)


def _soft_limit(attempt: Attempt) -> float | None:
    return attempt.request.soft_time_limit or attempt.task.soft_time_limit  # type: ignore[no-any-return]


def _policy_after(outcome: Outcome, flow_run: "FlowRun") -> "FlowRunPolicy | None":
    """Tell Prefect's server whether the failure that comes next is followed by another attempt, and when."""
    if outcome.state == states.SUCCESS:
        return None
    policy = flow_run.empirical_policy.model_copy()
    if isinstance(outcome.value, Retry):
        policy.retries, policy.retry_delay = max(policy.retries or 0, flow_run.run_count), delay_seconds(outcome.value)
    elif isinstance(outcome.value, Reject) and outcome.value.requeue:
        policy.retries, policy.retry_delay = max(policy.retries or 0, flow_run.run_count), 0
    else:
        policy.retries = 0
    return policy


def _end(outcome: Outcome) -> Any:
    """Return or raise what makes Prefect put the run into the state that the outcome means."""
    from prefect.states import Completed

    if outcome.state == states.SUCCESS:
        return outcome.value
    if outcome.state == states.IGNORED:
        return Completed(name="Ignored", message=str(outcome.value))
    raise outcome.error  # type: ignore[misc]  # an error in every other state
