"""The Celery application: what callers send tasks with, and what `celery -A celery_app worker` starts."""

import sys
from pathlib import Path
from typing import Any

from shim.app import GatewayCelery
from shim.settings import read_settings

TASK_MODULES = ["tasks.attendance", "tasks.email", "tasks.hris", "tasks.scheduler"]
VISIBILITY_SECONDS = 60
RESTORE_SECONDS = 5


def make_app() -> GatewayCelery:
    """Make the application; it reads Celery's own environment variables when it is first used."""
    made = GatewayCelery("hr_flows", include=TASK_MODULES)
    made.add_defaults(_configuration)
    # Threads other than the one that imports this module would otherwise get an application without a broker.
    made.set_default()
    return made


def _configuration() -> dict[str, Any]:
    settings = read_settings()
    return {
        "broker_url": settings.broker_url,
        "result_backend": settings.result_backend,
        "task_always_eager": settings.always_eager,
        "accept_content": ["json"],
        "result_accept_content": ["json"],
        "task_serializer": "json",
        "result_serializer": "json",
        "task_track_started": True,
        # Messages are acknowledged as soon as their runs exist: what is not by then is a lost worker's.
        # They are looked for every few seconds; by default it would be a hundred, and more while other messages come.
        "broker_transport_options": {
            "visibility_timeout": VISIBILITY_SECONDS,
            "unacked_restore_interval": RESTORE_SECONDS,
            "unacked_restore_throttle": 1,
        },
        "broker_connection_retry_on_startup": True,
        "worker_cancel_long_running_tasks_on_connection_loss": False,
        "timezone": "UTC",
    }


# `celery -A celery_app` puts the working directory on the import path only while it loads this module; eager calls in a
# worker import the flows later.
HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.append(HERE)

app = make_app()
