"""`self.request` inside a flow run: what the caller sent, and what Prefect knows about the attempt."""

import os
import socket
from contextvars import ContextVar
from typing import Any

from celery.app.task import Context

from shim.call import Call


class FlowContext(Context):  # type: ignore[misc]  # Celery has no annotations
    """The request of one attempt that runs inside a Prefect flow run."""

    flow_run_id: str = ""
    call: Call | None = None
    has_own_arguments = False
    called_directly = False


class ContextStack:
    """A stack with the methods of Celery's `LocalStack` that asynchronous code may share.

    Celery keeps the request stack per thread. Inside one event loop several bodies may interleave, and Prefect's steps
    run in threads of their own; a context variable follows each of them.
    """

    def __init__(self, name: str) -> None:
        self._items: ContextVar[tuple[Any, ...]] = ContextVar(name, default=())

    def push(self, item: Any) -> list[Any]:
        """Put an item on top and give the stack."""
        self._items.set((*self._items.get(), item))
        return self.stack

    def pop(self) -> Any:
        """Take the topmost item off, or give None when there is none."""
        items = self._items.get()
        if not items:
            return None
        self._items.set(items[:-1])
        return items[-1]

    def __len__(self) -> int:
        return len(self._items.get())

    @property
    def stack(self) -> list[Any]:
        """The items, the topmost last."""
        return list(self._items.get())

    @property
    def top(self) -> Any:
        """The topmost item, or None."""
        items = self._items.get()
        return items[-1] if items else None


# Arguments that a body has given to its next attempt with `self.retry(args=..., kwargs=...)`, by flow run: Prefect
# makes the next attempt in the same process.
_changed_arguments: dict[str, tuple[list[Any], dict[str, Any]]] = {}


def change_arguments(request: FlowContext, retry: Any) -> None:
    """Keep the arguments for the next attempt if the body has changed them.

    Args:
        request: The request of the attempt that ends.
        retry: The `celery.exceptions.Retry` that ends it.
    """
    if retry.sig is None:
        return
    args, kwargs = list(retry.sig.args or ()), dict(retry.sig.kwargs or {})
    if (args, kwargs) != (list(request.args or ()), request.kwargs):
        _changed_arguments[request.flow_run_id] = (args, kwargs)


def build_request(task: Any, flow_run: Any, call: Call | None) -> FlowContext:
    """Make the request of the attempt that is about to start.

    Args:
        task: The Celery task.
        flow_run: Prefect's flow run, read after it entered Running.
        call: The call that started the run, or None when Prefect did.

    Returns:
        The caller's own request where there is one, otherwise one whose id is the flow run's.
    """
    fields: dict[str, Any] = {
        "id": str(flow_run.id),
        "delivery_info": {"exchange": "", "routing_key": None, "priority": None, "redelivered": False},
        "timelimit": [None, None],
        "ignore_result": task.ignore_result,
        "args": [],
        "kwargs": dict(flow_run.parameters),
    }
    if call is not None:
        fields |= {**call.headers, "args": list(call.args), "kwargs": call.kwargs, **call.embed}
    changed = _changed_arguments.get(str(flow_run.id))
    if changed is not None:
        fields["args"], fields["kwargs"] = changed
    fields["root_id"] = fields.get("root_id") or fields["id"]
    fields["correlation_id"] = fields.get("correlation_id") or fields["id"]
    request = FlowContext(
        fields,
        task=task.name,
        retries=int(fields.get("retries") or 0) + max(flow_run.run_count - 1, 0),
        hostname=f"prefect@{socket.gethostname()}:{os.getpid()}",
        is_eager=False,
        called_directly=False,
    )
    # Not among the fields: what Celery does not know there counts as the caller's own headers.
    request.flow_run_id = str(flow_run.id)
    request.call = call
    request.has_own_arguments = call is not None or changed is not None
    return request
