"""The guard: whatever a command started ends with it, and it ends with who wanted it."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
LIMIT = 30

# `python -m demo.guard`, which kills a child that does not end after half a second instead of four.
GUARD = """
import sys
from demo import guard
guard.PATIENCE_FOR_CHILDREN = 0.5
sys.exit(guard.main())
"""

# Starts a process in a session of its own that ignores SIGTERM, writes its pid down, and goes on itself or ends.
STUBBORN_CHILD = """
import subprocess, sys, time
from pathlib import Path
stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(600)"
child = subprocess.Popen([sys.executable, "-c", stubborn], start_new_session=True, stdout=subprocess.PIPE)
child.stdout.read(1)
Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def start_guard() -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    started = []

    def start(*arguments: str) -> "subprocess.Popen[bytes]":
        guard = subprocess.Popen(
            [sys.executable, "-c", GUARD, *arguments],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        started.append(guard)
        return guard

    yield start
    for guard in started:
        with suppress(psutil.NoSuchProcess):
            for process in psutil.Process(guard.pid).children(recursive=True):
                process.kill()
        guard.kill()
        guard.communicate()


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + LIMIT
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {LIMIT} s"
        time.sleep(0.02)


def read_pid(path: Path) -> int:
    wait_until(lambda: path.exists() and bool(path.read_text()), "the child's pid is written")
    return int(path.read_text())


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_a_stubborn_child_in_a_session_of_its_own_ends_with_the_guard(
    start_guard: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    guard = start_guard(sys.executable, "-c", STUBBORN_CHILD, str(tmp_path / "pid"), "600")
    child = read_pid(tmp_path / "pid")
    assert runs(child)
    guard.terminate()
    assert guard.wait(LIMIT) == 0
    assert not runs(child)


def test_an_orphan_ends_with_the_guard(start_guard: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path) -> None:
    guard = start_guard(sys.executable, "-c", STUBBORN_CHILD, str(tmp_path / "pid"), "0")
    child = read_pid(tmp_path / "pid")
    assert guard.wait(LIMIT) == 0
    assert not runs(child)


def test_the_command_ends_when_the_lifeline_is_closed(
    start_guard: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    guard = start_guard("--while-stdin-open", sys.executable, "-c", STUBBORN_CHILD, str(tmp_path / "pid"), "600")
    child = read_pid(tmp_path / "pid")
    assert guard.stdin is not None
    guard.stdin.close()
    assert guard.wait(LIMIT) == 0
    assert not runs(child)


def test_the_command_is_asked_to_end_when_the_guard_is_killed(
    start_guard: Callable[..., "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    script = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(600)"
    guard = start_guard(sys.executable, "-c", script, str(tmp_path / "pid"))
    command = read_pid(tmp_path / "pid")
    guard.kill()
    wait_until(lambda: not runs(command), "the command ends")


def test_the_status_of_the_command_is_passed_on(start_guard: Callable[..., "subprocess.Popen[bytes]"]) -> None:
    assert start_guard(sys.executable, "-c", "raise SystemExit(7)").wait(LIMIT) == 7
