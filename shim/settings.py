"""The environment variables that a caller's process may set; they are Celery's own."""

import os
from dataclasses import dataclass

from shim.errors import ShimError

DEFAULT_BROKER = "redis://localhost:6379/0"
TRUE, FALSE = {"1", "true", "yes", "on"}, {"", "0", "false", "no", "off"}


@dataclass(frozen=True)
class ShimSettings:
    """What the shim reads from the environment.

    Attributes:
        broker_url: `CELERY_BROKER_URL`, where calls are sent.
        result_backend: `CELERY_RESULT_BACKEND`, where results are read; the broker when not set.
        always_eager: `CELERY_TASK_ALWAYS_EAGER`: calls run at once in the caller's process.
    """

    broker_url: str
    result_backend: str
    always_eager: bool


def read_settings() -> ShimSettings:
    """Read the settings from the environment.

    Raises:
        ShimError: A value cannot be understood.
    """
    broker = os.environ.get("CELERY_BROKER_URL") or DEFAULT_BROKER
    eager = os.environ.get("CELERY_TASK_ALWAYS_EAGER", "").strip().lower()
    if eager not in TRUE | FALSE:
        raise ShimError(
            f"CELERY_TASK_ALWAYS_EAGER is {eager!r}, which is neither true nor false. "
            "Set it in the environment, for example CELERY_TASK_ALWAYS_EAGER=true"
        )
    return ShimSettings(
        broker_url=broker,
        result_backend=os.environ.get("CELERY_RESULT_BACKEND") or broker,
        always_eager=eager in TRUE,
    )
