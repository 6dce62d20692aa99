"""How a worker takes messages of tasks that run as flows: requests go to the gateway, not to the worker's pool."""

import logging
from collections.abc import Callable
from typing import Any

from celery import signals
from celery.exceptions import InvalidTaskError
from celery.worker.request import Request
from celery.worker.state import task_reserved
from celery.worker.strategy import default, hybrid_to_proto2, proto1_to_proto2

logger = logging.getLogger(__name__)

# Messages that a worker holds at most while their batches wait for each other, or for Prefect's server to come back.
MOST_HELD = 4_000


class FlowRequest(Request):  # type: ignore[misc]  # Celery has no annotations
    """A worker's request whose body is a flow run.

    Attributes:
        gateway: Who follows the run.
        terminated: Whether somebody asked for the end of the run.
        callbacks_sent: Whether the canvas has been told of the result.
        call: The call, once it belongs to a batch.
        held_by: The consumer's counter of messages, while it counts this one as held.
    """

    gateway: Any = None
    terminated = False
    callbacks_sent = False
    call: Any = None
    held_by: Any = None

    def hold(self, counter: Any) -> None:
        """Let the broker send on although this message is not acknowledged soon: its batch waits for more of them."""
        self.held_by = counter
        counter.increment_eventually()

    def acknowledge(self) -> None:
        """See Celery's method. A message whose connection is gone comes again, and its call is then found by its id."""
        held_by, self.held_by = self.held_by, None
        super().acknowledge()
        if held_by is not None:
            held_by.decrement_eventually()

    def terminate(self, pool: Any, signal: Any = None) -> None:
        """End the run, as `revoke(terminate=True)` asks; no process of this worker is concerned."""
        self.terminated = True

    def cancel(self, pool: Any, signal: Any = None, emit_retry: bool = True) -> None:
        """Do nothing where Celery ends its processes because the broker's connection broke: the run goes on."""


def strategy(task: Any, app: Any, consumer: Any, **options: Any) -> Callable[..., Any]:
    """Give what a worker does with a message of a task; Celery calls it once for each task.

    A worker without a gateway runs the task in its own pool, as Celery does.
    """
    gateway = getattr(consumer.controller, "gateway", None)
    if gateway is None or not gateway.follows(task):
        return default(task, app, consumer, **options)  # type: ignore[no-any-return]
    gateway.consumer = consumer
    eventer = consumer.event_dispatcher

    def take_message(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any) -> None:
        request = _read(
            message,
            body,
            on_ack=ack,
            on_reject=reject,
            app=app,
            hostname=consumer.hostname,
            eventer=eventer,
            task=task,
            connection_errors=consumer.connection_errors,
        )
        logger.info("Task %s[%s] received", request.name, request.id)
        if request.revoked():
            return
        signals.task_received.send(sender=consumer, request=request)
        request.send_event(
            "task-received",
            name=request.name,
            args=request.argsrepr,
            kwargs=request.kwargsrepr,
            root_id=request.root_id,
            parent_id=request.parent_id,
            retries=request.request_dict.get("retries", 0),
            eta=request.eta and request.eta.isoformat(),
            expires=request.expires and request.expires.isoformat(),
        )
        task_reserved(request)
        for callback in callbacks or ():
            callback(request)
        if gateway.batches(request) and consumer.qos.value < consumer.initial_prefetch_count + MOST_HELD:
            request.hold(consumer.qos)
        gateway.take(request)

    return take_message


def _read(message: Any, body: Any, *, app: Any, **surroundings: Any) -> FlowRequest:
    """Make the request of a message.

    Raises:
        InvalidTaskError: The message is not a call; the consumer logs and rejects it.
    """
    try:
        request = FlowRequest(message, app=app, **surroundings, **_decoded(message, body, app))
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidTaskError(f"the message is not a call of a task: {error!r}") from error
    if not isinstance(request.args, list | tuple) or not isinstance(request.kwargs, dict):
        raise InvalidTaskError("the message is not a call of a task: it holds no list and mapping of arguments")
    return request


def _decoded(message: Any, body: Any, app: Any) -> dict[str, Any]:
    """Give body and headers of a message in any of Celery's protocols."""
    if body is None and "args" not in message.payload:
        return {"body": message.body, "headers": message.headers, "decoded": False, "utc": app.uses_utc_timezone()}
    convert = hybrid_to_proto2 if "args" in message.payload else proto1_to_proto2
    payload, headers, decoded, utc = convert(message, message.payload if "args" in message.payload else body)
    return {"body": payload, "headers": headers, "decoded": decoded, "utc": utc}
