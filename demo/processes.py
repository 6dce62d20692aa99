"""Background processes that are found again, and stopped with everything that they started."""

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from demo.guard import PATIENCE, PATIENCE_FOR_CHILDREN, end_descendants
from errors import SuiteError

REPOSITORY = Path(__file__).resolve().parents[1]
POLL = 0.1
LOG_TAIL_LINES = 20
# Seconds by which a start, counted from the machine's boot, may seem to move when the clock is set.
CLOCK_TOLERANCE = 2.0
# A guard asks its command to end, then twice its descendants; after that it is itself overdue.
STOP_LIMIT = PATIENCE + 4 * PATIENCE_FOR_CHILDREN


class LocalSystemError(SuiteError):
    """A part of the local system did not start, ended early or is used by someone else."""


@dataclass(frozen=True)
class GuardedProcess:
    """A command run by `demo.guard`.

    Attributes:
        name: What messages call it.
        pid: The guard's process id.
        started: The guard's start, in seconds since 1970: another process that got the same id later has another one.
        log: The file with the command's output.
        child: The guard, if this process started it.
    """

    name: str
    pid: int
    started: float
    log: Path
    child: "subprocess.Popen[bytes] | None" = None

    @classmethod
    def start(
        cls,
        name: str,
        command: Sequence[str],
        *,
        log: Path,
        environment: Mapping[str, str],
        lock: int,
        lifeline: int | None,
    ) -> "GuardedProcess":
        """Start a command below a guard, in a session of its own: no Ctrl-C of this terminal reaches it.

        Args:
            name: What messages call it.
            command: Program and arguments.
            log: The file that gets its output; an older one is replaced.
            environment: Its whole environment.
            lock: An open file whose lock the guard holds as long as it lives.
            lifeline: The reading end of a pipe: the command ends when no one holds the writing end any more.

        Returns:
            The running process.
        """
        log.parent.mkdir(parents=True, exist_ok=True)
        options = [] if lifeline is None else ["--while-stdin-open"]
        with log.open("wb") as output:
            guard = subprocess.Popen(
                [sys.executable, "-m", "demo.guard", *options, *command],
                stdin=subprocess.DEVNULL if lifeline is None else lifeline,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=REPOSITORY,
                env=environment,
                pass_fds=[lock],
                start_new_session=True,
            )
        return cls(name, guard.pid, psutil.Process(guard.pid).create_time(), log, guard)

    def is_running(self) -> bool:
        """Tell whether the guard, and so its command, runs."""
        return self._find() is not None

    def stop(self) -> None:
        """End the command and everything that it started; returns when they have ended."""
        guard = self._find()
        if guard is not None:
            guard.terminate()
            try:
                guard.wait(STOP_LIMIT)
            except psutil.TimeoutExpired:
                end_descendants(self.pid)
                guard.kill()
                guard.wait(STOP_LIMIT)
        if self.child is not None:
            self.child.wait()

    def wait_until(self, condition: Callable[[], bool], limit: float) -> None:
        """Wait until something that this process brings about is true.

        Args:
            condition: Asked again and again.
            limit: Seconds.

        Raises:
            LocalSystemError: The process ended, or the time is over; the message holds the end of its log.
        """
        deadline = time.monotonic() + limit
        while not condition():
            if not self.is_running():
                raise LocalSystemError(
                    f"{self.name} ended while it started. Its log, {self.log}, ends:\n{self.log_tail()}"
                )
            if time.monotonic() > deadline:
                raise LocalSystemError(
                    f"{self.name} was not ready within {limit:g} s. Its log, {self.log}, ends:\n{self.log_tail()}"
                )
            time.sleep(POLL)

    def log_tail(self) -> str:
        """Give the last lines of the log."""
        if not self.log.exists():
            return "(no log)"
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])

    def _find(self) -> psutil.Process | None:
        try:
            process = psutil.Process(self.pid)
            is_other = abs(process.create_time() - self.started) > CLOCK_TOLERANCE
            if is_other or process.status() == psutil.STATUS_ZOMBIE:
                return None
        except psutil.NoSuchProcess:
            return None
        return process
