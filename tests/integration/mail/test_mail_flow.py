"""The mail tasks as callers and administrators use them: over Celery in bursts, from Prefect, and in place."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery.result import AsyncResult
from prefect.client.schemas.filters import ArtifactFilter, FlowRunFilter
from prefect.client.schemas.objects import FlowRun

from errors import InvalidArgument
from shim import FlowTask
from shim.errors import ArgumentInvalid
from tasks.email import MailDeferred, MailRefused, MailUnknown, send_notification_task, send_status_update_task
from tests.integration.mail.system import REPOSITORY, MailSystem
from tests.servers import MariaDBServer, PrefectServer, RedisServer, SmtpServer, smtp_server
from tests.waiting import wait_until

pytestmark = pytest.mark.timeout(400)
LIMIT = 120.0


@pytest.fixture(scope="module")
def mail_server() -> Iterator[SmtpServer]:
    with smtp_server() as server:
        yield server


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory,
    redis_server: RedisServer,
    prefect_server: PrefectServer,
    mariadb_server: MariaDBServer,
    mail_server: SmtpServer,
) -> Iterator[MailSystem]:
    """Everything, with a Celery worker as documented and a flow worker."""
    name = mariadb_server.create_database()
    folder = tmp_path_factory.mktemp("mail")
    system = MailSystem(folder, redis_server, prefect_server, mail_server, mariadb_server.url(name))
    system.prepare()
    with system.celery_worker("mail"), system.flow_worker("mail"):
        yield system
    mariadb_server.drop_database(name)


@pytest.fixture
def notify(system: MailSystem) -> FlowTask:
    found: FlowTask = system.app.tasks[send_notification_task.name]
    return found


def runs_of(system: MailSystem, task_name: str, *, holding: str) -> list[FlowRun]:
    """The flow runs of a task's calls to an address."""
    wanted = FlowRunFilter.model_validate({"tags": {"all_": [f"task:{task_name}"]}})
    with system.prefect.client() as client:
        runs = client.read_flow_runs(flow_run_filter=wanted, limit=200)
    return [run for run in runs if holding in json.dumps(run.parameters)]


def table_of(system: MailSystem, run: FlowRun) -> list[dict[str, Any]]:
    wanted = ArtifactFilter.model_validate({"flow_run_id": {"any_": [run.id]}, "type": {"any_": ["table"]}})
    with system.prefect.client() as client:
        found = wait_until(lambda: client.read_artifacts(artifact_filter=wanted), f"the table of {run.name}")
    rows: list[dict[str, Any]] = json.loads(str(found[0].data))
    return rows


def test_a_burst_is_delivered_by_few_flow_runs_and_every_call_has_its_own_result(
    system: MailSystem, notify: FlowTask
) -> None:
    results = [notify.delay(number, 3, f"burst.{number}@example.org") for number in range(1, 121)]

    for number, result in enumerate(results, start=1):
        told = {"status": "success", "request_id": number, "recipient": f"burst.{number}@example.org"}
        assert result.get(timeout=LIMIT) == told
        assert len(system.smtp.taken_by(f"burst.{number}@example.org")) == 1
    runs = runs_of(system, notify.name, holding="burst.")
    assert sum(len(run.parameters["calls"]) for run in runs) == 120
    assert len(runs) <= 6
    rows = [row for run in runs for row in table_of(system, run)]
    assert {row["call"]: (row["to_recipient"], row["state"]) for row in rows} == {
        result.id: (f"burst.{number}@example.org", "SUCCESS") for number, result in enumerate(results, start=1)
    }


def test_calls_of_one_burst_end_each_in_its_own_way(system: MailSystem, notify: FlowTask) -> None:
    names = ["fine", "refused", "deferred1", "deferred", "lost"]
    results: dict[str, AsyncResult] = {name: notify.delay(1, 1, f"{name}.ends@example.org") for name in names}

    assert results["fine"].get(timeout=LIMIT)["status"] == "success"
    with pytest.raises(MailRefused, match=r"refused: .* said 550 no such user here"):
        results["refused"].get(timeout=LIMIT)
    assert results["deferred1"].get(timeout=LIMIT)["status"] == "success"
    with pytest.raises(MailDeferred, match="451 try again later"):
        results["deferred"].get(timeout=LIMIT)
    with pytest.raises(MailUnknown, match=r"unknown: .* was lost while .*python -m hr.mail resend"):
        results["lost"].get(timeout=LIMIT)
    taken = {name: len(system.smtp.taken_by(f"{name}.ends@example.org")) for name in names}
    assert taken == {"fine": 1, "refused": 0, "deferred1": 1, "deferred": 0, "lost": 1}


def test_a_status_update_is_sent_and_answered(system: MailSystem) -> None:
    task = system.app.tasks[send_status_update_task.name]
    result = task.delay(7, "approved", "status@example.org", cc_recipients=["copy@example.org"])
    assert result.get(timeout=LIMIT) == {"status": "success", "request_id": 7, "new_status": "approved"}
    (mail,) = system.smtp.taken_by("status@example.org")
    assert mail["recipients"] == ["status@example.org", "copy@example.org"]


def test_bad_addresses_are_refused_by_the_arguments_name_and_the_rest_of_the_burst_goes_out(
    system: MailSystem, notify: FlowTask
) -> None:
    bad = {
        "to_recipient": notify.delay(1, 1, "sara@example.org\r\nBcc: everyone@example.org"),
        "cc_recipients": notify.delay(1, 1, "fine.cc@example.org", ["nonsense"]),
    }
    fine = notify.delay(1, 1, "fine.beside@example.org")
    for argument, result in bad.items():
        with pytest.raises(InvalidArgument, match=f"argument '{argument}' is not an address"):
            result.get(timeout=LIMIT)
    assert fine.get(timeout=LIMIT)["status"] == "success"
    assert system.smtp.taken_by("fine.cc@example.org") == []
    assert system.smtp.taken_by("everyone@example.org") == []


def test_a_deployment_run_from_prefect_sends_one_mail(system: MailSystem) -> None:
    parameters = ["-p", "request_id=7", "-p", "request_lines=3", "-p", "to_recipient=by.hand@example.org"]
    command = [sys.executable, "-m", "prefect", "deployment", "run", "send-notification/send-notification"]
    subprocess.run([*command, *parameters], check=True, env=system.environment(), capture_output=True)
    wait_until(lambda: system.smtp.taken_by("by.hand@example.org"), "the mail arrives")


def test_a_batch_that_somebody_starts_by_hand_in_prefect_sends_its_mails(system: MailSystem) -> None:
    calls = [{"request_id": n, "request_lines": 1, "to_recipient": f"hand.{n}@example.org"} for n in (1, 2)]
    command = [sys.executable, "-m", "prefect", "deployment", "run", "send-notifications/send-notifications"]
    subprocess.run(
        [*command, "-p", f"calls={json.dumps(calls)}"], check=True, env=system.environment(), capture_output=True
    )
    wait_until(lambda: system.smtp.taken_by("hand.2@example.org"), "the mails arrive")
    assert len(system.smtp.taken_by("hand.1@example.org")) == 1


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ((0, 1, "sara@example.org"), "request_id"),
        ((-7, 1, "sara@example.org"), "request_id"),
        (("seven", 1, "sara@example.org"), "request_id"),
        ((1, -1, "sara@example.org"), "request_lines"),
        ((1, 1, 5), "to_recipient"),
        ((1, 1, "sara@example.org", "omar@example.org"), "cc_recipients"),
        ((1, 1, "sara@example.org", [5]), "cc_recipients"),
        ((1, 1, "sara@example.org", ["omar@example.org"] * 51), "cc_recipients"),
    ],
)
def test_wrong_types_and_numbers_are_refused_at_the_call(arguments: tuple[Any, ...], argument: str) -> None:
    # No broker answers: a call that were sent would fail otherwise.
    with pytest.raises(ArgumentInvalid, match=f"argument '{argument}' must be"):
        send_notification_task.delay(*arguments)


def test_callers_cannot_name_a_template_or_an_unknown_argument() -> None:
    with pytest.raises(TypeError, match="template"):
        send_notification_task.delay(1, 1, "sara@example.org", template="../../etc/passwd")


SNIPPET = """
from tasks.email import send_notification_task as my_task

result = my_task.apply(args=[7, 3, "sara@example.org"]).get()
print(result)
"""


def test_direct_execution_sends_the_mail_with_nothing_configured(
    settings_environment: Callable[..., None], tmp_path: Any, prefect_api: str
) -> None:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "CELERY_BROKER_URL": "redis://127.0.0.1:9/0"}
    subprocess.run([sys.executable, "-m", "db", "migrate"], check=True, env=environment, cwd=REPOSITORY)
    done = subprocess.run(
        [sys.executable, "-c", SNIPPET], check=True, env=environment, cwd=REPOSITORY, capture_output=True, text=True
    )
    assert "{'status': 'success', 'request_id': 7, 'recipient': 'sara@example.org'}" in done.stdout
    assert "meal request 7 waits for you" in done.stdout
    assert len(list((tmp_path / "data" / "mail").iterdir())) == 1
