"""A server as a child process: started until it answers, stopped for sure, killed and restarted on request."""

import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from errors import SuiteError
from tests.servers.forked_program import ForkedProgram, find_fork_server

# Below the range from which the kernel takes ports for outgoing connections: no client sits on one of these by chance.
PORTS = range(15_000, 32_000)
LOG_TAIL_LINES = 30


class ServerError(SuiteError):
    """A test server is not installed, does not start or does not stop."""


def free_port() -> int:
    """Give a loopback port on which nothing listens now."""
    for port in random.sample(PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerError(f"100 ports between {PORTS.start} and {PORTS.stop} were tried and none is free: see `ss -ltn`")


def find_program(name: str, package: str, *folders: str) -> str:
    """Find a program of the system.

    Args:
        name: The program's file name.
        package: The Debian package that holds it, for the message.
        folders: Where to look besides `PATH`.

    Returns:
        The program's path.

    Raises:
        ServerError: It is not installed.
    """
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin", *folders]))
    if found is None:
        raise ServerError(f"{name} is not installed: run `apt-get install {package}` or `make test`, which does it")
    return found


def launcher(account: str | None, *options: str) -> list[str]:
    """Give the words that go before a command to start it as another account and with other options of `setpriv`."""
    identity = [] if account is None else [f"--reuid={account}", f"--regid={account}", "--clear-groups"]
    return [find_program("setpriv", "util-linux"), *identity, *options]


@contextmanager
def server_folder(kind: str) -> Iterator[Path]:
    """Make a temporary folder for a server, removed at the end, or by the next caller if this process is killed.

    Args:
        kind: What is in it, part of its name.

    Yields:
        The folder; its path is short enough for a Unix socket in it.
    """
    parent = Path(tempfile.gettempdir())
    for left in parent.glob(f"hr-flows-{kind}-*"):
        owner = left.name.split("-")[-2]
        if owner.isdigit() and not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)
    prefix = f"hr-flows-{kind}-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=parent, ignore_cleanup_errors=True) as folder:
        yield Path(folder)


class ServerProcess:
    """One server process. It dies with the process that started it, however that one ends.

    The kernel ties its life to the *thread* that starts it: start servers from the main thread.

    Args:
        name: What messages call it.
        command: Program and arguments; it must stay in the foreground.
        log: File that gets its output, appended.
        is_ready: Tells whether it answers now; asked again until it does.
        account: The system account that it runs as, for servers that refuse root; default: this process's.
        environment: Its whole environment; default: this process's.
        start_limit: Seconds within which it must answer.
        stop_limit: Seconds that it gets to end by itself before it is killed.
        is_forked: Fork it where tests have a fork server; the command is then `python -m …` of what that one imports.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        is_ready: Callable[[], bool],
        account: str | None = None,
        environment: Mapping[str, str] | None = None,
        start_limit: float = 60,
        stop_limit: float = 20,
        is_forked: bool = False,
    ) -> None:
        self.name = name
        self.log = log
        self._command = [*launcher(account, "--pdeathsig=KILL"), *command]
        self._forked = command[2:] if is_forked else None
        self._is_ready = is_ready
        self._environment = dict(os.environ if environment is None else environment)
        self._start_limit = start_limit
        self._stop_limit = stop_limit
        self._process: subprocess.Popen[bytes] | ForkedProgram | None = None

    @property
    def pid(self) -> int:
        """The process id of the running server.

        Raises:
            ServerError: It does not run.
        """
        if self._process is None:
            raise ServerError(f"{self.name} does not run")
        return self._process.pid

    @property
    def has_ended(self) -> bool:
        """Whether it ended although nobody stopped it."""
        return self._process is not None and self._process.poll() is not None

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises:
            ServerError: It ended or did not answer in time; the message holds the end of its log.
        """
        if self._process is not None:
            raise ServerError(f"{self.name} runs already, with process id {self.pid}")
        with self.log.open("ab") as output:
            self._process = self._begin(output)
        deadline = time.monotonic() + self._start_limit
        while not self._is_ready():
            if self._process.poll() is not None:
                status, self._process = self._process.returncode, None
                raise ServerError(
                    f"{self.name} ended with status {status} while it started; its log:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                self.kill()
                raise ServerError(
                    f"{self.name} did not answer within {self._start_limit:g} s; its log:\n{self.log_tail()}"
                )
            time.sleep(0.02)

    def _begin(self, output: IO[bytes]) -> subprocess.Popen[bytes] | ForkedProgram:
        fork_server = find_fork_server()
        if self._forked is not None and fork_server is not None:
            return fork_server.start(self._forked, self._environment, output)
        return subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=self._environment,
            start_new_session=True,
        )

    def stop(self) -> None:
        """Ask the server to end; kill it when it does not in time. Nothing happens when it does not run."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(self._stop_limit)
        finally:
            self.kill()

    def kill(self) -> None:
        """End the server and its children at once (SIGKILL). Nothing happens when it does not run."""
        if self._process is None:
            return
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def restart(self) -> None:
        """Stop the server if it runs, and start it on the same port with the same data."""
        self.stop()
        self.start()

    def log_tail(self) -> str:
        """Give the last lines of the server's log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
