"""What arrives over the broker and cannot be a call is refused with its reason, and the worker lives."""

import base64
import json
import pickle
from typing import Any
from uuid import uuid4

import pytest
from celery.result import AsyncResult

from tests.integration.shim.sample_tasks import MODULE
from tests.integration.shim.system import System
from tests.waiting import LIMIT, wait_until

# The first test also waits for the servers.
pytestmark = pytest.mark.timeout(600)


def send_raw(system: System, body: bytes, content_type: str, **headers: Any) -> AsyncResult:
    """Put a message into the queue as any program with access to Redis could."""
    task_id = str(uuid4())
    message = {
        "body": base64.b64encode(body).decode(),
        "content-encoding": "binary" if "pickle" in content_type else "utf-8",
        "content-type": content_type,
        "headers": {"lang": "py", "task": f"{MODULE}.add", "id": task_id, "retries": 0, "root_id": task_id, **headers},
        "properties": {
            "correlation_id": task_id,
            "delivery_mode": 2,
            "delivery_tag": str(uuid4()),
            "delivery_info": {"exchange": "", "routing_key": "celery"},
            "priority": 0,
            "body_encoding": "base64",
        },
    }
    system.app.backend.client.lpush("celery", json.dumps(message))
    return system.app.AsyncResult(task_id)


def assert_worker_lives(system: System) -> None:
    assert system.task("add").delay(20, 22).get(timeout=LIMIT) == 42


@pytest.mark.parametrize(
    ("args", "text"),
    [
        ([1], "missing a required argument: 'y'"),
        ([1, 2, 3], "too many positional arguments"),
        ([1, "two"], "argument 'y' must be int, got str 'two'"),
    ],
)
def test_wrong_arguments_over_the_broker_fail_the_call_and_say_why(system: System, args: list[Any], text: str) -> None:
    result = system.app.send_task(f"{MODULE}.add", args)

    with pytest.raises(Exception, match=text):
        result.get(timeout=LIMIT)
    assert result.state == "FAILURE"
    assert system.runs(result) == []


def test_wrong_arguments_fail_at_the_call() -> None:
    from tests.integration.shim.sample_tasks import add

    with pytest.raises(TypeError, match="missing 1 required positional argument: 'y'"):
        add.delay(1)


def test_a_task_without_a_deployment_says_which_command_to_run(system: System) -> None:
    result = system.task("undeployed").delay()

    with pytest.raises(Exception, match="prefect deploy --all") as raised:
        result.get(timeout=LIMIT)
    assert type(raised.value).__name__ == "DeploymentMissing"


def test_an_unknown_task_is_refused_and_the_worker_lives(system: System) -> None:
    result = send_raw(system, b"[[], {}, {}]", "application/json", task="sample.unknown")

    assert_worker_lives(system)
    assert "sample.unknown" in (system.folder / "shared.log").read_text()
    assert result.state in {"PENDING", "FAILURE"}


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"{broken", "application/json"),
        (b'"text"', "application/json"),
        (b"[1, 2, 3]", "application/json"),
        (pickle.dumps(([1, 2], {}, {})), "application/x-python-serialize"),
    ],
    ids=["not JSON", "not a call", "arguments that are none", "pickle"],
)
def test_a_malformed_body_is_refused_and_the_worker_lives(system: System, body: bytes, content_type: str) -> None:
    result = send_raw(system, body, content_type)

    assert_worker_lives(system)
    wait_until(lambda: system.app.backend.client.llen("celery") == 0, "the message is gone")
    assert system.runs(result) == []
