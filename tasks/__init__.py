"""The documented Celery tasks: what callers import."""

import celery_app

# Sending needs the application with its broker, also when a caller imports nothing but a task.
__all__ = ["celery_app"]
