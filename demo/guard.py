"""Runs one command and ends it, with everything that it started, when asked to or when who wanted it is gone.

    python -m demo.guard [--while-stdin-open] command argument …

Programs such as Prefect's worker put their children into sessions of their own, where no signal to a process group
reaches them. The guard therefore adopts every orphan below it (Linux's child subreaper) and finds them all by descent.
"""

import argparse
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from types import FrameType

import psutil

# Seconds that a program gets to end by itself, then its children, before they are killed.
PATIENCE = 8.0
PATIENCE_FOR_CHILDREN = 4.0
POLL = 0.1
PR_SET_CHILD_SUBREAPER = 36


def main() -> int:
    """Run the command until it ends or must end.

    Returns:
        The command's exit status; 0 when it was ended from here.
    """
    parser = argparse.ArgumentParser(prog="python -m demo.guard", description=__doc__)
    parser.add_argument("--while-stdin-open", action="store_true", help="end when the standard input is closed")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    _adopt_orphans()
    stop_asked = _watch_signals()
    # Should the guard itself be killed, the kernel asks the command to end.
    dies_with_guard = ["/usr/bin/setpriv", "--pdeathsig=TERM"]
    command = subprocess.Popen([*dies_with_guard, *arguments.command], stdin=subprocess.DEVNULL)
    while command.poll() is None:
        if stop_asked or (arguments.while_stdin_open and _stdin_is_closed()):
            _stop(command)
            return 0
        time.sleep(POLL)
    end_descendants(os.getpid())
    return command.returncode


def end_descendants(pid: int) -> None:
    """End all processes below one: ask them first, kill those that stay.

    Args:
        pid: The process whose descendants end; it itself does not.
    """
    for number in (signal.SIGTERM, signal.SIGKILL):
        try:
            descendants = psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return
        for process in descendants:
            _signal(process, number)
        psutil.wait_procs(descendants, timeout=PATIENCE_FOR_CHILDREN)


def _adopt_orphans() -> None:
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _watch_signals() -> list[int]:
    received: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, remember)
    return received


def _stdin_is_closed() -> bool:
    readable, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(readable) and not os.read(sys.stdin.fileno(), 1024)


def _stop(command: "subprocess.Popen[bytes]") -> None:
    command.terminate()
    try:
        command.wait(PATIENCE)
    except subprocess.TimeoutExpired:
        end_descendants(os.getpid())
        command.wait()
    end_descendants(os.getpid())


def _signal(process: psutil.Process, number: signal.Signals) -> None:
    try:
        process.send_signal(number)
    except psutil.NoSuchProcess:
        return


if __name__ == "__main__":
    sys.exit(main())
