"""A pytest plugin: every Celery application makes its tasks of the shim's class."""

from collections.abc import Iterator

import pytest
from celery.app.base import Celery
from click.testing import CliRunner

Celery.task_cls = "shim.task:FlowTask"


@pytest.fixture
def isolated_cli_runner() -> Iterator[CliRunner]:
    """What two of Celery's tests take from pytest-click."""
    runner = CliRunner()
    with runner.isolated_filesystem():
        yield runner
