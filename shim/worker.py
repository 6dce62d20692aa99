"""The worker that `celery worker` starts for an application whose tasks run as flows."""

import logging
from typing import Any

from celery.apps.worker import Worker

CONSUMER = "shim.consumer:GatewayConsumer"

logger = logging.getLogger(__name__)


class GatewayWorker(Worker):  # type: ignore[misc]  # Celery has no annotations
    """Celery's worker without a scheduler of its own: `-B` is accepted and does nothing, with every pool."""

    def setup_defaults(self, **options: Any) -> None:
        """Take messages with the gateway's consumer, unless another one is asked for."""
        super().setup_defaults(**{"consumer_cls": CONSUMER, **options})

    def prepare_args(self, **options: Any) -> dict[str, Any]:
        """Take `-B` out of the options that the worker is set up with."""
        self.beat_wanted = bool(options.pop("beat", False))
        prepared: dict[str, Any] = super().prepare_args(**options)
        return prepared

    def on_start(self) -> None:
        """Say what became of `-B`, once logging is set up."""
        super().on_start()
        if self.beat_wanted:
            logger.warning(
                "-B starts no beat here: schedules are deployments in Prefect, steered by the scheduled_job rows"
            )
