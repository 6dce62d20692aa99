"""What the jobs do: plain asynchronous functions that know neither Prefect nor Celery."""
