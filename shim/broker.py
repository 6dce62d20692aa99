"""Connections to the broker: kombu's, but for the transport that takes messages from Redis."""

from typing import Any

from celery.app import amqp
from kombu import connection

REDIS_SCHEMES = {"redis", "rediss"}


class Connection(connection.Connection):  # type: ignore[misc]  # kombu has no annotations
    """A connection to any broker, in place of kombu's."""

    def get_transport_cls(self) -> Any:
        """Give the shim's transport for Redis, kombu's for all others; also after a switch to another broker."""
        if self.transport_cls in REDIS_SCHEMES:
            # Here, so that an application without Redis does not load it.
            from shim.redis_transport import Transport

            return Transport
        return super().get_transport_cls()


class AMQP(amqp.AMQP):  # type: ignore[misc]  # Celery has no annotations
    """Celery's way to the broker, over these connections."""

    Connection = Connection
