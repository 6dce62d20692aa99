"""The Celery application: what callers send tasks with, and what `celery -A celery_app worker` starts."""

import sys
from pathlib import Path

from shim.app import GatewayCelery
from shim.settings import read_settings

TASK_MODULES = ["tasks.hris"]
VISIBILITY_SECONDS = 60


def make_app() -> GatewayCelery:
    """Make the application from Celery's own environment variables (see `shim.settings`)."""
    settings = read_settings()
    made = GatewayCelery("hr_flows", broker=settings.broker_url, backend=settings.result_backend, include=TASK_MODULES)
    made.conf.update(
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_always_eager=settings.always_eager,
        task_track_started=True,
        # Messages are acknowledged as soon as their runs exist: what is not by then is a lost worker's.
        broker_transport_options={"visibility_timeout": VISIBILITY_SECONDS},
        broker_connection_retry_on_startup=True,
        timezone="UTC",
    )
    # Threads other than the one that imports this module would otherwise get an application without a broker.
    made.set_default()
    return made


# `celery -A celery_app` puts the working directory on the import path only while it loads this module; eager calls in a
# worker import the flows later.
HERE = str(Path(__file__).resolve().parent)
if HERE not in sys.path:
    sys.path.append(HERE)

app = make_app()
celery_app = app
