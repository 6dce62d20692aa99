"""The structured logger: JSON lines, correlation, no secrets, the reference's calls."""

import json
import logging
import subprocess
import sys
from datetime import datetime
from typing import Any

import pytest

from settings import REPOSITORY
from utils.redaction import redact_text
from utils.structured_logger import correlate, get_correlation_id, get_structured_logger


def read_lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_a_line_is_one_json_object_with_the_fields_of_the_call(capsys: pytest.CaptureFixture[str]) -> None:
    get_structured_logger("tests.line").info(
        'Staged 50% of "موظفون"\nin two lines', rows=5000, seconds=0.5, entity=None
    )
    (line,) = read_lines(capsys)
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() is not None
    assert line == {
        "level": "INFO",
        "logger": "tests.line",
        "message": 'Staged 50% of "موظفون"\nin two lines',
        "correlation_id": None,
        "rows": 5000,
        "seconds": 0.5,
        "entity": None,
    }


def test_the_references_calls_write_their_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logger = get_structured_logger("tests.reference")
    logger.log_celery_task_start(
        task_name="my_task",
        execution_id="e-1",
        celery_task_id="c-1",
        worker_host="host",
        triggered_by=None,
        task_metadata={"retries": 0, "max_retries": 3},
    )
    logger.log_celery_task_complete(
        task_name="my_task", execution_id="e-1", final_status="SUCCESS", duration_ms=1234, error_message=None
    )
    logger.log_celery_task_complete(
        task_name="my_task", execution_id="e-1", final_status="FAILED", duration_ms=5, error_message="no HRIS"
    )
    start, success, failure = read_lines(capsys)
    assert start["message"] == "Task my_task started"
    assert start["task_metadata"] == {"retries": 0, "max_retries": 3}
    assert (start["celery_task_id"], start["worker_host"], start["triggered_by"]) == ("c-1", "host", None)
    assert (success["level"], success["final_status"], success["duration_ms"]) == ("INFO", "SUCCESS", 1234)
    assert (failure["level"], failure["error_message"]) == ("ERROR", "no HRIS")
    assert {line["correlation_id"] for line in (start, success, failure)} == {"e-1"}


def test_lines_inside_a_correlation_carry_its_id_and_lines_after_it_do_not(capsys: pytest.CaptureFixture[str]) -> None:
    logger = get_structured_logger("tests.correlation")
    with correlate("outer"):
        logger.info("one")
        with correlate("inner"):
            logger.info("two")
        logger.info("three")
    logger.info("four")
    assert [line["correlation_id"] for line in read_lines(capsys)] == ["outer", "inner", "outer", None]
    assert get_correlation_id() is None


@pytest.mark.parametrize(
    "text",
    [
        "cannot connect to mysql+aiomysql://hr:hunter2@db.example.org:3306/hr",
        "redis://:hunter2@localhost:6379/0 refused",
        "mssql://reader:hunter2@with@signs@host/HMIS",
        "DRIVER={x};UID=reader;PWD=hunter2;Encrypt=yes",
        "called with password='hunter2'",
        '{"api_key": "hunter2"}',
        "Authorization token: hunter2",
    ],
)
def test_a_secret_in_a_text_is_masked(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    get_structured_logger("tests.secrets").error(text, detail=text, nested={"why": [text]})
    written = capsys.readouterr().err
    assert "hunter2" not in written
    assert "***" in written


def test_a_field_with_a_secrets_name_is_masked_wherever_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    fields = {"password": "hunter2", "settings": {"smtp_password": "hunter2", "port": 25}}
    get_structured_logger("tests.secrets").info("x", **fields)
    (line,) = read_lines(capsys)
    assert (line["password"], line["settings"]) == ("***", {"smtp_password": "***", "port": 25})


def test_text_without_a_secret_stays_as_it_is() -> None:
    text = "see http://127.0.0.1:4200/runs/flow-run/1 at 10:00, mail to a@b.example: 3 passwords are too short"
    assert redact_text(text) == text


def test_values_that_json_does_not_know_are_written_too(capsys: pytest.CaptureFixture[str]) -> None:
    moment = datetime(2026, 11, 22, 10, 30)
    get_structured_logger("tests.values").info("x", moment=moment, nan=float("nan"), ids={1}, level="mine")
    (line,) = read_lines(capsys)
    assert (line["moment"], line["nan"], line["ids"]) == ("2026-11-22 10:30:00", None, [1])
    assert (line["level"], line["level_"]) == ("INFO", "mine")


def test_an_exception_is_written_with_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    try:
        int("redis://:hunter2@localhost")
    except ValueError:
        get_structured_logger("tests.exception").exception("It failed")
    (line,) = read_lines(capsys)
    assert "Traceback" in line["exception"]
    assert line["exception"].endswith("ValueError: invalid literal for int() with base 10: 'redis://:***@localhost'")


def test_records_propagate_with_a_plain_message_to_other_handlers(caplog: pytest.LogCaptureFixture) -> None:
    get_structured_logger("tests.propagation").warning("100% of rows", rows=3)
    (record,) = [record for record in caplog.records if record.name == "tests.propagation"]
    assert (record.getMessage(), record.levelno) == ("100% of rows", logging.WARNING)
    assert record.funcName == "test_records_propagate_with_a_plain_message_to_other_handlers"


def test_asking_twice_gives_one_logger_that_writes_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert get_structured_logger("tests.twice") is get_structured_logger("tests.twice")
    get_structured_logger("tests.twice").info("once")
    assert len(read_lines(capsys)) == 1


def test_a_process_that_does_not_use_prefect_does_not_load_it() -> None:
    code = """
import sys
from utils.structured_logger import get_structured_logger
get_structured_logger("x").info("hello")
assert "prefect" not in sys.modules and "sqlalchemy" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stderr)["message"] == "hello"
