"""The Celery application of the counted task, as `celery -A` finds it."""

from celery_app import make_app
from tests.chaos.sample_tasks import MODULE

app = make_app()
app.conf.include = [MODULE]
