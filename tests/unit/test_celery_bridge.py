"""Jobs find their tasks by their keys."""

import pytest

import celery_bridge
from celery_bridge import TASK_REGISTRY, UnknownTaskCode, dispatch_task
from shim import FlowTask


def test_the_registry_holds_tasks_by_job_key() -> None:
    assert TASK_REGISTRY["hris_replication"].name == "tasks.hris.hris_replication_task"
    assert all(isinstance(task, FlowTask) for task in TASK_REGISTRY.values())


def test_an_unknown_code_is_an_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UnknownTaskCode, match="no task is registered under 'hris'") as raised:
        dispatch_task("hris", "e1")
    assert "hris_replication" in str(raised.value)


def test_dispatching_sends_the_execution_and_the_tasks_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = []
    task = type("Sent", (), {"delay": staticmethod(lambda **arguments: sent.append(arguments))})
    monkeypatch.setitem(celery_bridge.TASK_REGISTRY, "sample", task)

    dispatch_task("sample", "e1", triggered_by_user_id="42")
    assert sent == [{"execution_id": "e1", "triggered_by_user_id": "42"}]
