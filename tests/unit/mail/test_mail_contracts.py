"""The documented mail tasks: names, arguments and options that callers rely on."""

import inspect
from typing import Any

import pytest

from shim import FlowTask
from tasks.email import send_notification_task, send_status_update_task

REQUIRED = inspect.Parameter.empty
COMMON = {"max_retries": 3, "default_retry_delay": 60, "autoretry_for": (Exception,), "retry_backoff": True}


@pytest.mark.parametrize(
    ("task", "name", "arguments", "options"),
    [
        (
            send_notification_task,
            "tasks.email.send_notification_task",
            {"request_id": REQUIRED, "request_lines": REQUIRED, "to_recipient": REQUIRED, "cc_recipients": None},
            COMMON | {"retry_backoff_max": 300, "retry_jitter": True},
        ),
        (
            send_status_update_task,
            "tasks.email.send_status_update_task",
            {"request_id": REQUIRED, "status": REQUIRED, "to_recipient": REQUIRED, "cc_recipients": None},
            COMMON,
        ),
    ],
)
def test_a_documented_task_keeps_its_name_arguments_and_options(
    task: FlowTask, name: str, arguments: dict[str, Any], options: dict[str, Any]
) -> None:
    assert task.name == name
    assert {key: parameter.default for key, parameter in task.call_signature.parameters.items()} == arguments
    assert {option: getattr(task, option) for option in options} == options
