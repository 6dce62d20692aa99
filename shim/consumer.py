"""The consumer of messages of a worker whose tasks run as flows."""

from celery.worker.consumer import Consumer


class GatewayConsumer(Consumer):  # type: ignore[misc]  # Celery has no annotations
    """Celery's consumer, which outlives a broker that dies while messages are held without acknowledgement.

    Celery gives up a broken connection twice. Where the first attempt fails, as with Redis when it was waited for, the
    second one tries to give the held messages back over a connection that knows no server any more, and the
    AttributeError ends the worker (kombu 5.7, Celery 5.7). The gateway holds messages whenever their runs cannot be
    created. They need not be given back: the broker sends again what is not acknowledged in time, and a call that comes
    twice is found by its id.
    """

    def on_connection_error_after_connected(self, exc: BaseException) -> None:
        """Leave the held messages to the broker, and go on as Celery does."""
        transport = getattr(self.connection, "transport", None)
        for channel in getattr(transport, "channels", None) or ():
            if (qos := getattr(channel, "qos", None)) is not None:
                qos.restore_at_shutdown = False
        super().on_connection_error_after_connected(exc)
