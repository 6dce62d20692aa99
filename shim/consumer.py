"""The consumer of messages of a worker whose tasks run as flows."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from celery.worker.consumer import Consumer

logger = logging.getLogger(__name__)


class GatewayConsumer(Consumer):  # type: ignore[misc]  # Celery has no annotations
    """Celery's consumer, which outlives a broker that dies while messages are held without acknowledgement.

    The gateway holds messages whenever their runs cannot be created. kombu 5.7 gives a broken connection up in a way
    that makes each later use of it an AttributeError, which Celery 5.7 does not expect in two places: it gives broken
    connections up twice, the second time handing back what is held, and it acknowledges in its event loop what was
    received over a connection that is gone. Either ends the worker. Neither is needed: the broker sends again what is
    not acknowledged in time, and a call that comes twice is found by its id.
    """

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Leave the held messages to the broker, and go on as Celery does."""
        transport = getattr(self.connection, "transport", None)
        for channel in getattr(transport, "channels", None) or ():
            if (qos := getattr(channel, "qos", None)) is not None:
                qos.restore_at_shutdown = False
        super().on_connection_error_after_connected(exc)

    def call_soon_ack(self, p: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Acknowledge or reject a message as Celery does, unless the connection is gone that it came over.

        Args:
            p: The message's method for that.
            args: What the method is called with.
            kwargs: The same.
        """
        return super().call_soon_ack(_unless_connection_is_gone(p), *args, **kwargs)


def _unless_connection_is_gone(settle: Callable[..., Any]) -> Callable[..., Any]:
    message: Any = getattr(settle, "__self__", None)

    @wraps(settle)
    def settle_if_connected(*args: Any, **kwargs: Any) -> None:
        channel = getattr(message, "channel", None)
        if channel is None or channel.connection is not None:
            settle(*args, **kwargs)
        else:
            logger.info("The connection of message %s is gone; the broker sends it again", message.delivery_tag)

    return settle_if_connected
