"""Celery's own unit tests, run with the shim's task class as the application's."""
