"""Python programs that are forked from a process that has imported what they need, instead of started anew.

Only the test suite has that process. Benches, demonstrations and the tests of starting itself start programs as users
do.
"""

import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from settings import REPOSITORY
from tests.fork_server import STATUS_BYTES

# Seconds until a program has begun; the first one waits for all imports.
BEGIN_LIMIT = 120.0


class ForkedProgram:
    """A running program, with what is needed of `subprocess.Popen`.

    Attributes:
        pid: Its process id, which is also its process group's.
        returncode: Its exit status, negative for a signal; None while it runs, as far as is known.
    """

    def __init__(self, report: socket.socket) -> None:
        self.returncode: int | None = None
        self._report = report
        report.settimeout(BEGIN_LIMIT)
        self.pid = int(report.recv(STATUS_BYTES) or b"0")
        if not self.pid:
            report.close()
            raise ChildProcessError("the fork server has ended: see what it wrote into the tests' output")

    def poll(self) -> int | None:
        """Give its exit status, or None while it runs."""
        if self.returncode is None and select.select([self._report], [], [], 0)[0]:
            with self._report:
                # Nothing comes from a fork server that was killed; its programs die with it.
                self.returncode = int(self._report.recv(STATUS_BYTES) or -signal.SIGKILL)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end and give its exit status.

        Args:
            timeout: Seconds.

        Raises:
            subprocess.TimeoutExpired: It runs on.
        """
        if self.returncode is None:
            select.select([self._report], [], [], timeout)
        status = self.poll()
        if status is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return status

    def terminate(self) -> None:
        """Ask it to end, if it runs."""
        if self.poll() is None:
            os.kill(self.pid, signal.SIGTERM)


class ForkServer:
    """The connection of one test process to the fork server that all of them share.

    Args:
        address: The path of its socket.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._connection: socket.socket | None = None

    def start(self, program: Sequence[str], environment: Mapping[str, str], output: IO[bytes]) -> ForkedProgram:
        """Start a program.

        Args:
            program: The module, as for `python -m`, and its arguments.
            environment: Its whole environment.
            output: The file that gets what it prints.
        """
        if self._connection is None:
            self._connection = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            self._connection.connect(self.address)
        module, *arguments = program
        order = {"module": module, "arguments": arguments, "environment": dict(environment)}
        report, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._connection, [json.dumps(order).encode()], [output.fileno(), theirs.fileno()])
        return ForkedProgram(report)

    def close(self) -> None:
        """Leave; what this process has started and left running is killed."""
        if self._connection is not None:
            self._connection.close()


_fork_server: ForkServer | None = None


def find_fork_server() -> ForkServer | None:
    """Give the fork server of this test process, if it has one."""
    return _fork_server


@contextmanager
def use_fork_server(address: str) -> Iterator[None]:
    """Have programs forked, as far as they can be, by the fork server at an address."""
    global _fork_server  # noqa: PLW0603  (one for the whole process, as are the servers that it starts)
    _fork_server = ForkServer(address)
    try:
        yield
    finally:
        _fork_server.close()
        _fork_server = None


@contextmanager
def run_fork_server(address: Path) -> Iterator[None]:
    """Run a fork server; it imports nothing before somebody connects.

    Args:
        address: Its socket, not there yet.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "PYTHON"))}
    process = subprocess.Popen(
        ["setpriv", "--pdeathsig=KILL", sys.executable, "-m", "tests.fork_server", str(address)],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
    )
    try:
        while not address.exists() and process.poll() is None:
            time.sleep(0.01)
        yield
    finally:
        process.kill()
        process.wait()
