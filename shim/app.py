"""The Celery application whose workers are gateways to Prefect."""

from typing import Any

from celery import Celery
from kombu.utils.objects import cached_property

from shim.chunks import add_item_tasks


class GatewayCelery(Celery):  # type: ignore[misc]  # Celery has no annotations
    """A Celery application: for callers like any other, its workers follow flow runs.

    Takes the arguments of `celery.Celery`.
    """

    amqp_cls = "shim.broker:AMQP"

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Named, not imported: only a worker loads the gateway, and Prefect with it.
        self.steps["worker"].add("shim.gateway:GatewayStep")
        self.on_after_finalize.connect(_complete, sender=self)

    @cached_property  # type: ignore[untyped-decorator]
    def Worker(self) -> Any:  # noqa: N802 - Celery's name
        """The worker class that `celery worker` starts."""
        return self.subclass_with_self("shim.worker:GatewayWorker")


def _complete(sender: GatewayCelery, **_: Any) -> None:
    add_item_tasks(sender)
