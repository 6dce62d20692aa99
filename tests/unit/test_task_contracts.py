"""The documented tasks: names, arguments and options that callers rely on."""

import inspect
from typing import Any

import pytest

from shim import FlowTask
from shim.errors import ArgumentInvalid
from tasks.attendance import (
    fetch_attendance_for_meal_request_task,
    sync_attendance_for_lines_task,
    sync_attendance_task,
)
from tasks.scheduler import cleanup_history_task

CONTRACTS = [
    (
        sync_attendance_task,
        "tasks.attendance.sync_attendance_task",
        {"execution_id": None, "months_back": None, "triggered_by_user_id": None},
        {"default_retry_delay": 120, "retry_backoff_max": 600, "soft_time_limit": 300, "time_limit": 360},
    ),
    (
        sync_attendance_for_lines_task,
        "tasks.attendance.sync_attendance_for_lines_task",
        {"meal_request_line_ids": inspect.Parameter.empty},
        {"default_retry_delay": 60, "soft_time_limit": None, "time_limit": None},
    ),
    (
        fetch_attendance_for_meal_request_task,
        "tasks.attendance.fetch_attendance_for_meal_request_task",
        {"meal_request_id": inspect.Parameter.empty},
        {"default_retry_delay": 60, "soft_time_limit": None, "time_limit": None},
    ),
    (
        cleanup_history_task,
        "tasks.scheduler.cleanup_history_task",
        {"execution_id": None, "retention_days": 30, "triggered_by_user_id": None},
        {"default_retry_delay": 60, "retry_backoff_max": 300, "soft_time_limit": 120, "time_limit": 180},
    ),
]


@pytest.mark.parametrize(("task", "name", "arguments", "options"), CONTRACTS, ids=[row[1] for row in CONTRACTS])
def test_a_documented_task_keeps_its_name_arguments_and_options(
    task: FlowTask, name: str, arguments: dict[str, Any], options: dict[str, Any]
) -> None:
    assert task.name == name
    assert {key: parameter.default for key, parameter in task.call_signature.parameters.items()} == arguments
    expected = options | {"max_retries": 3, "autoretry_for": (Exception,), "retry_backoff": True}
    assert {option: getattr(task, option) for option in expected} == expected


@pytest.mark.parametrize(
    ("task", "arguments", "argument"),
    [
        (sync_attendance_task, {"months_back": 0}, "months_back"),
        (sync_attendance_task, {"months_back": -2}, "months_back"),
        (sync_attendance_task, {"months_back": 1_000_000}, "months_back"),
        (sync_attendance_task, {"months_back": "two"}, "months_back"),
        (sync_attendance_for_lines_task, {"meal_request_line_ids": []}, "meal_request_line_ids"),
        (sync_attendance_for_lines_task, {"meal_request_line_ids": list(range(1, 10_001))}, "meal_request_line_ids"),
        (sync_attendance_for_lines_task, {"meal_request_line_ids": ["x"]}, "meal_request_line_ids"),
        (sync_attendance_for_lines_task, {"meal_request_line_ids": 7}, "meal_request_line_ids"),
        (sync_attendance_for_lines_task, {"meal_request_line_ids": [2**63]}, "meal_request_line_ids"),
        (fetch_attendance_for_meal_request_task, {"meal_request_id": -1}, "meal_request_id"),
        (fetch_attendance_for_meal_request_task, {"meal_request_id": None}, "meal_request_id"),
        (cleanup_history_task, {"retention_days": 0}, "retention_days"),
        (cleanup_history_task, {"retention_days": -30}, "retention_days"),
        (cleanup_history_task, {"retention_days": 10**9}, "retention_days"),
        (cleanup_history_task, {"retention_days": "a month"}, "retention_days"),
    ],
)
def test_bad_input_is_refused_at_the_call_by_the_arguments_name(
    task: FlowTask, arguments: dict[str, Any], argument: str
) -> None:
    # No broker answers: a call that were sent would fail otherwise.
    with pytest.raises(ArgumentInvalid, match=f"argument '{argument}' must be"):
        task.delay(**arguments)
