"""The Celery application of the sample tasks, as `celery -A` finds it."""

from celery_app import make_app

app = make_app()
app.conf.include = ["tests.integration.shim.sample_tasks"]
