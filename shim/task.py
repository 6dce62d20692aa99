"""The task class: a Celery task to its callers, a Prefect flow to the worker that runs it."""

import inspect
import threading
from collections.abc import Callable, Coroutine
from contextvars import copy_context
from functools import wraps
from typing import TYPE_CHECKING, Any, overload

import celery
from celery import Task

from shim.arguments import Check, check_values, checks_of
from shim.batches.contract import Batch
from shim.context import ContextStack, FlowContext
from shim.errors import ShimError
from shim.signatures import call_signature

if TYPE_CHECKING:
    from prefect import Flow

# What holds for a run, and cannot be held for one call among others in it.
BATCHES_CANNOT = {"rate_limit", "soft_time_limit", "time_limit"}


class FlowTask(Task):  # type: ignore[misc]  # Celery has no annotations
    """A Celery task whose body runs as a Prefect flow run.

    Callers and Celery's canvas see an ordinary task. `apply()`, a direct call and `task_always_eager` run the body in
    this process, without Prefect's server.

    Attributes:
        body: The function under the decorator.
        takes_self: Whether the body takes the task as its first argument (`bind=True`).
        flow_entrypoint: Dotted path of the flow that does the work, or None when the body does.
        batch: How calls that arrive together run together, or None when each runs alone.
    """

    abstract = True
    Strategy = "shim.intake:strategy"
    body: Callable[..., Any]
    takes_self = False
    flow_entrypoint: str | None = None
    batch: Batch | None = None
    _derived_flow: "Flow[..., Any] | None" = None
    _checks: tuple[inspect.Signature, dict[str, Check]] | None = None

    @classmethod
    def on_bound(cls, app: Any) -> None:
        """Give the task a request stack that follows asynchronous code; Celery calls this when it binds the task."""
        super().on_bound(app)
        if not isinstance(cls.request_stack, ContextStack):
            cls.request_stack = ContextStack(f"request of {cls.name}")

    @property
    def runs_as_flow(self) -> bool:
        """Whether a worker makes flow runs of its calls: a class without a decorated function runs where it is."""
        return getattr(self, "body", None) is not None

    @property
    def call_signature(self) -> inspect.Signature:
        """What callers may pass."""
        return call_signature(self.body, bound=self.takes_self)

    def flow(self, *, name: str | None = None, **options: Any) -> "Callable[[Callable[..., Any]], Flow[..., Any]]":
        """Make the decorated function the flow that fulfils this task's contract.

        Retries, delays and limits come from the task. The function must take what callers of the task may pass; it may
        have more parameters if they are keyword-only with defaults.

        Args:
            name: The flow's name; by default the function's, with dashes.
            options: Other options of `prefect.flow`: hooks, description, task runner, result persistence.

        Returns:
            A decorator that turns a function into a Prefect flow.
        """
        from shim.flow import make_flow

        def decorate(function: Callable[..., Any]) -> "Flow[..., Any]":
            return make_flow(self, function, bound=False, name=name, **options)

        return decorate

    def batch_flow(
        self, *, name: str | None = None, **options: Any
    ) -> "Callable[[Callable[..., Any]], Flow[..., Any]]":
        """Make the decorated asynchronous function the flow that runs batches of this task's calls.

        The function takes a list of `shim.batches.flow.BatchedCall` and ends each of them.

        Args:
            name: The flow's name; by default the function's, with dashes.
            options: Other options of `prefect.flow`.

        Returns:
            A decorator that turns a function into a Prefect flow.
        """
        from shim.batches.flow import make_batch_flow

        def decorate(function: Callable[..., Any]) -> "Flow[..., Any]":
            return make_batch_flow(self, function, name=name, **options)

        return decorate

    @property
    def prefect_flow(self) -> "Flow[..., Any]":
        """The flow that runs this task: the one at `flow_entrypoint`, otherwise one derived from the body.

        A deployment of a derived flow has the entry point `package.module:task_function.prefect_flow`.
        """
        from shim.flow import load_flow, make_flow

        if self.flow_entrypoint is not None:
            return load_flow(self.flow_entrypoint)
        if self._derived_flow is None:
            self._derived_flow = make_flow(self, self.body, bound=self.takes_self, name=None)
        return self._derived_flow

    def check_values(self, args: Any, kwargs: Any) -> None:
        """Check the values of a call against the annotations of the task's signature.

        Args:
            args: Positional arguments.
            kwargs: Keyword arguments.

        Raises:
            ArgumentInvalid: A value is not of its parameter's type; the message names the parameter.
        """
        if not self.runs_as_flow:
            return
        known = self._checks
        if known is None:
            signature = self.call_signature
            known = type(self)._checks = (signature, checks_of(signature))
        check_values(self.name, *known, args or (), kwargs or {})

    def apply_async(self, args: Any = None, kwargs: Any = None, *more: Any, **options: Any) -> Any:
        """See Celery's method; values of a wrong type are refused before anything is sent.

        Raises:
            TypeError: The arguments do not fit the signature.
            ArgumentInvalid: A value is not of its parameter's type; the message names the parameter.
        """
        if self.typing:
            self.check_values(args, kwargs)
        return super().apply_async(args, kwargs, *more, **options)

    @property
    def deployed_entrypoint(self) -> str:
        """The entry point of the deployments that run this task."""
        return self.flow_entrypoint or f"{self.body.__module__}:{self.body.__qualname__}.prefect_flow"

    def signature_from_request(self, request: Any = None, *args: Any, **kwargs: Any) -> Any:
        """See Celery's method. Inside a flow run it gives a signature that sends nothing: Prefect runs the retry."""
        request = self.request if request is None else request
        again = super().signature_from_request(request, *args, **kwargs)
        if isinstance(request, FlowContext):
            again.apply_async = lambda *_args, **_kwargs: None
        return again


@overload
def shared_task(function: Callable[..., Any], /) -> FlowTask: ...


@overload
def shared_task(
    *, flow: str | None = None, batch: Batch | None = None, base: type[Task] | None = None, **options: Any
) -> Callable[[Callable[..., Any]], FlowTask]: ...


def shared_task(
    *args: Any, flow: str | None = None, batch: Batch | None = None, base: type[Task] | None = None, **options: Any
) -> Any:
    """Make a function a Celery task that runs as a Prefect flow; takes everything that `celery.shared_task` takes.

    Args:
        args: The function, when used as a bare decorator.
        flow: Dotted path of the flow that does the work, for example `flows.hris.replicate`; imported only by workers
            and eager calls. Without it the decorated function is the body.
        batch: Have calls that arrive together run together.
        base: A task class of your own; it is combined with `FlowTask`.
        options: Celery's task options.

    Returns:
        The task, or a decorator that makes it.
    """
    bound = bool(options.get("bind"))
    if batch is not None and BATCHES_CANNOT & options.keys():
        raise ShimError(
            f"a task whose calls run together cannot have {', '.join(sorted(BATCHES_CANNOT & options.keys()))}: "
            "one run holds calls of many callers. Leave out the option or `batch`"
        )

    def decorate(function: Callable[..., Any]) -> Any:
        return celery.shared_task(
            base=_combine(base),
            body=staticmethod(function),
            takes_self=bound,
            flow_entrypoint=flow,
            batch=batch,
            **options,
        )(_run_here(function, flow, bound=bound))

    if len(args) == 1 and callable(args[0]):
        return decorate(args[0])
    if args:
        raise TypeError(f"shared_task takes one function or none, got {len(args)} positional arguments")
    return decorate


def _combine(base: type[Task] | None) -> type[Task]:
    if base is None:
        return FlowTask
    if issubclass(base, FlowTask):
        return base
    return type(base.__name__, (base, FlowTask), {"abstract": True, "__module__": base.__module__})


def _run_here(function: Callable[..., Any], flow: str | None, *, bound: bool) -> Callable[..., Any]:
    """Give what Celery calls to run the body in this process: for `apply()`, direct calls and eager mode."""

    @wraps(function)
    def run(*args: Any, **kwargs: Any) -> Any:
        if flow is None:
            value = function(*args, **kwargs)
        else:
            from shim.eager import ensure_prefect
            from shim.flow import load_flow

            ensure_prefect()
            work: Any = load_flow(flow).fn
            value = work.__wrapped__(*(args[1:] if bound else args), **kwargs)
        return _wait_for(value) if inspect.iscoroutine(value) else value

    # Celery reads the arguments of the function it is given, without looking through wrappers.
    run.__signature__ = inspect.signature(function)  # type: ignore[attr-defined]
    return run


def _wait_for(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end from synchronous code, also when this thread's own event loop is running."""
    import asyncio  # not above: callers who only send need none of it

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    ended: list[Any] = []
    failed: list[BaseException] = []

    def run() -> None:
        try:
            ended.append(asyncio.run(coroutine))
        except BaseException as error:  # noqa: BLE001 - handed over to the caller's thread
            failed.append(error)

    thread = threading.Thread(target=copy_context().run, args=(run,), name="eager task")
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return ended[0]
