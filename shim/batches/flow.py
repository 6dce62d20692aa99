"""The flow that runs a batch: its function ends each call, and what it tells of them goes out while it runs on."""

import asyncio
import inspect
import json
import logging
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import TYPE_CHECKING, Any

from celery import Task, states
from celery.utils.saferepr import saferepr
from kombu.utils.json import dumps

from shim.batches import answers
from shim.batches.calls import BatchedCall, Outbox
from shim.batches.records import Reference, decode_calls
from shim.call import Call, readable
from shim.context import build_request
from shim.errors import ArgumentInvalid, ShimError
from shim.outcome import Outcome
from shim.signatures import call_signature

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

logger = logging.getLogger(__name__)

LONGEST_ANSWER = 200
BatchFunction = Callable[[list[BatchedCall]], Coroutine[Any, Any, None]]


def make_batch_flow(task: Task, function: BatchFunction, *, name: str | None, **options: Any) -> "Flow[..., Any]":
    """Make the flow that runs batches of a task's calls.

    Args:
        task: The task.
        function: Takes the calls of a batch and ends each of them; those that it leaves fail, and so do all that are
            left when it raises.
        name: The flow's name; by default the function's.
        options: Options of `prefect.flow`.

    Returns:
        A Prefect flow with one parameter, `calls`: the arguments of each call. Started by hand, it runs these.

    Raises:
        ShimError: The function is not asynchronous, or the task has no batches.
    """
    from prefect import Flow

    if task.batch is None or not inspect.iscoroutinefunction(function):
        raise ShimError(f"batches of {task.name} need `batch=` at the task and an asynchronous function")

    @wraps(function)
    async def run_batch(calls: list[dict[str, Any]]) -> Any:
        from prefect.context import FlowRunContext

        run = FlowRunContext.get()
        if run is None or run.flow_run is None:
            raise ShimError(f"a batch of {task.name} runs as a flow run only; call the task for a single call")
        return await _run(task, function, run, calls)

    run_batch.__signature__ = inspect.signature(run_batch, follow_wrapped=False)  # type: ignore[attr-defined]
    run_batch.__annotations__ = {"calls": list[dict[str, Any]], "return": Any}
    made: Flow[..., Any] = Flow(
        run_batch, name=name or function.__name__.replace("_", "-"), validate_parameters=False, **options
    )
    made.celery_task = task.name  # type: ignore[attr-defined]  # `load_flow` tells by it that this is a task's flow
    return made


async def _run(task: Task, function: BatchFunction, run: Any, parameters: list[dict[str, Any]]) -> Any:
    client: PrefectClient = run.client
    outbox = Outbox(client, run.flow_run, task)
    reference = Reference.from_context(run.flow_run.context)
    if reference is not None:
        received = decode_calls(await _read_artifact(client, reference.artifact_id))
    else:
        received = [_call_by_hand(task, run.flow_run, number, each) for number, each in enumerate(parameters)]
    # An execution that follows a lost process is not a retry of its calls.
    flow_run = run.flow_run.model_copy(update={"run_count": 1})
    calls = [BatchedCall(task, build_request(task, flow_run, call), call.key, outbox.add) for call in received]
    wanted = await _without_answered(task, calls) if reference is not None else calls
    async with outbox.opened():
        _bind_arguments(task, wanted)
        await _call_function(function, [call for call in wanted if call.outcome is None])
    await _show_calls(client, run, calls)
    return _conclude(task, calls, by_hand=reference is None)


async def _call_function(function: BatchFunction, calls: list[BatchedCall]) -> None:
    error: Exception = ShimError(
        f"{function.__module__}.{function.__qualname__} left this call of its batch without an end"
    )
    try:
        await function(calls)
    except Exception as raised:
        logger.exception("The batch failed; so do its calls that had not ended")
        error = raised
    for call in calls:
        if call.outcome is None:
            call.fail(error)


async def _without_answered(task: Task, calls: Sequence[BatchedCall]) -> list[BatchedCall]:
    """Leave out calls that have their answer: revoked meanwhile, or answered by an execution that was lost later."""
    known = await asyncio.to_thread(answers.read_states, task.backend, [call.id for call in calls])
    return [call for call in calls if known[call.id] not in states.READY_STATES]


def _bind_arguments(task: Task, calls: Sequence[BatchedCall]) -> None:
    """Give calls their arguments, checked and cast as the task annotates them; those that cannot be fail."""
    from pydantic import ConfigDict, ValidationError, create_model

    signature = call_signature(task.body, bound=task.takes_self)
    fields: dict[str, Any] = {
        parameter.name: (
            Any if parameter.annotation is parameter.empty else parameter.annotation,
            ... if parameter.default is parameter.empty else parameter.default,
        )
        for parameter in signature.parameters.values()
    }
    model = create_model("Arguments", __config__=ConfigDict(arbitrary_types_allowed=True, extra="forbid"), **fields)
    for call in calls:
        try:
            bound = signature.bind(*call.request.args, **call.request.kwargs).arguments
            checked = model.model_validate(dict(bound))
        except (TypeError, ValidationError) as error:
            call.fail(ArgumentInvalid(f"{task.name} was called with wrong arguments: {error}"))
        else:
            call.arguments = {name: getattr(checked, name) for name in fields}


def _call_by_hand(task: Task, flow_run: "FlowRun", number: int, arguments: dict[str, Any]) -> Call:
    headers = {"id": f"{flow_run.id}-{number}", "task": task.name}
    return Call(headers=headers, body=str(dumps([[], arguments, {}])))


async def _read_artifact(client: "PrefectClient", artifact_id: str) -> str:
    response = await client.request("GET", "/artifacts/{id}", path_params={"id": artifact_id})
    return str(response.json()["data"])


async def _show_calls(client: "PrefectClient", run: Any, calls: Sequence[BatchedCall]) -> None:
    """Show each call as a row of a table on the run's page."""
    from prefect.client.schemas.actions import ArtifactCreate

    rows = [
        {
            "call": call.id,
            **{name: readable(value) for name, value in call.arguments.items() if value is not None},
            "retries": call.request.retries,
            "state": "answered before" if call.outcome is None else call.outcome.state,
            "answer": "" if call.outcome is None else _describe(call.outcome),
        }
        for call in calls
    ]
    artifact = ArtifactCreate(
        key=run.flow.name, type="table", description=_tell(calls), data=json.dumps(rows), flow_run_id=run.flow_run.id
    )
    await client.create_artifact(artifact)


def _describe(outcome: Outcome) -> str:
    return str(saferepr(outcome.value if outcome.error is None else outcome.error, LONGEST_ANSWER))


def _tell(calls: Sequence[BatchedCall]) -> str:
    counts = Counter("answered before" if call.outcome is None else call.outcome.state for call in calls)
    return f"{len(calls)} calls: " + ", ".join(f"{number} {state}" for state, number in sorted(counts.items()))


def _conclude(task: Task, calls: Sequence[BatchedCall], *, by_hand: bool) -> Any:
    """Give the state that the run ends in: failed when a call failed for good, so that people see it."""
    from prefect.states import Completed, Failed

    unwelcome = {states.FAILURE, states.RETRY} if by_hand else {states.FAILURE}
    failed = any(call.outcome is not None and call.outcome.state in unwelcome for call in calls)
    return (Failed if failed else Completed)(message=_tell(calls))
