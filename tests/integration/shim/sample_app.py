"""The Celery application of the sample tasks, as `celery -A` finds it."""

import os

from celery_app import make_app

app = make_app()
app.conf.include = ["tests.integration.shim.sample_tasks"]
if "VISIBILITY_SECONDS" in os.environ:
    app.conf.broker_transport_options = {"visibility_timeout": int(os.environ["VISIBILITY_SECONDS"])}
