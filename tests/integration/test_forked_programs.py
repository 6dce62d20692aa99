"""Programs that tests fork instead of starting them: begun as by `python -m`, ended as any process."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from settings import REPOSITORY
from tests.servers.forked_program import ForkedProgram, find_fork_server
from tests.waiting import wait_until

SAMPLE = "tests.integration.forked_sample"
Start = Callable[..., ForkedProgram]


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """What the programs print."""
    return tmp_path / "output"


@pytest.fixture
def start(output: Path) -> Start:
    """Gives a function that starts the sample program."""
    fork_server = find_fork_server()
    assert fork_server is not None

    def start(*arguments: str, **environment: str) -> ForkedProgram:
        with output.open("ab") as file:
            return fork_server.start([SAMPLE, *arguments], {"PYTHONUNBUFFERED": "1", **environment}, file)

    return start


def read(output: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(wait_until(output.read_text, "it says something").splitlines()[0])
    return found


def test_a_program_has_the_arguments_and_the_environment_that_it_is_given(
    start: Start, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GREETING", "of the test")
    assert start("end", "one", "two", GREETING="hello", TZ="Africa/Cairo").wait(60) == 0
    assert read(output) == {
        "arguments": ["one", "two"],
        "greeting": "hello",
        "zone": "EET",
        "leads_its_session": True,
        "has_prefect": True,
        "is_main": True,
    }


def test_what_a_program_ends_with_is_its_status(start: Start, output: Path) -> None:
    assert start("fail").wait(60) == 7
    assert start("raise").wait(60) == 1
    assert "LookupError: as it was told" in output.read_text()


def test_a_program_that_is_told_to_end_ends_by_that_signal(start: Start, output: Path) -> None:
    program = start("stay")
    read(output)
    with pytest.raises(subprocess.TimeoutExpired):
        program.wait(0)
    assert program.poll() is None
    program.terminate()
    assert program.wait(60) == -signal.SIGTERM
    assert not psutil.pid_exists(program.pid)


def test_programs_end_with_the_test_process_that_started_them_and_no_others_do(start: Start) -> None:
    fork_server = find_fork_server()
    assert fork_server is not None
    script = (
        "import os, sys\nfrom tests.servers.forked_program import ForkServer\n"
        f"server = ForkServer({fork_server.address!r})\n"
        f"print(server.start([{SAMPLE!r}, 'stay'], dict(os.environ), sys.stderr).pid, flush=True)\ninput()"
    )
    other = start("stay")
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as starter:
        assert starter.stdout is not None
        pid = int(starter.stdout.readline())
        assert psutil.pid_exists(pid)
        starter.kill()
    wait_until(lambda: not psutil.pid_exists(pid), "the program ends", limit=10)
    assert other.poll() is None
    other.terminate()
    assert other.wait(60) == -signal.SIGTERM
