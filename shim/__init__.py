"""Celery tasks whose body is a Prefect flow run.

`shared_task` is a drop-in for `celery.shared_task`. Importing this package costs an import of Celery and nothing else:
Prefect is imported only where a flow is defined or runs.
"""

from shim.batches.contract import Batch
from shim.bounds import Within
from shim.task import FlowTask, shared_task

__all__ = ["Batch", "FlowTask", "Within", "shared_task"]
