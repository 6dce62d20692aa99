"""The Celery application: what callers send tasks with, and what `celery -A celery_app worker` starts."""

from celery import Celery

from shim.settings import read_settings

TASK_MODULES = ["tasks.hris"]


def make_app() -> Celery:
    """Make the application from Celery's own environment variables (see `shim.settings`)."""
    settings = read_settings()
    made = Celery("hr_flows", broker=settings.broker_url, backend=settings.result_backend, include=TASK_MODULES)
    made.conf.update(
        accept_content=["json"],
        result_accept_content=["json"],
        task_serializer="json",
        result_serializer="json",
        task_always_eager=settings.always_eager,
        task_track_started=True,
        timezone="UTC",
    )
    # Threads other than the one that imports this module would otherwise get an application without a broker.
    made.set_default()
    return made


app = make_app()
celery_app = app
