"""Starts Python programs by forking: it has imported once what each of them would spend seconds on.

    python -m tests.fork_server <socket>

It imports nothing until the first test process connects. A program begins as `python -m` would begin it, with its own
environment, arguments and session; it dies with this process, and when the test process that asked for it has gone.
"""

import ctypes
import gc
import importlib
import json
import os
import runpy
import select
import signal
import socket
import sys
import threading
import time
import traceback
import zoneinfo
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

MESSAGE_BYTES = 200_000
STATUS_BYTES = 20
PR_SET_PDEATHSIG = 1
# What the programs import, as far as it reads no setting when it is imported and runs no thread.
PRELOADED = (
    "prefect.cli.server",
    "prefect.cli.worker",
    "prefect.server.api.server",
    "prefect.server.services.base",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.workers.process",
    "aiosqlite",
    "uvicorn.loops.auto",
    "uvicorn.protocols.http.auto",
    "uvicorn.protocols.websockets.auto",
    "uvicorn.lifespan.on",
    "celery.apps.worker",
    "celery.backends.redis",
    "celery.bin.celery",
    "celery.concurrency.prefork",
    "celery.concurrency.solo",
    "celery.concurrency.thread",
    "kombu.transport.redis",
    "workers.worker",
    "flows.mail",
    "flows.hris",
    "demo.one_writer",
    "aiomysql",
    "encodings.idna",
)


@dataclass(frozen=True)
class Order:
    """A program that is to be started.

    Attributes:
        module: What `python -m` would get.
        arguments: The program's arguments.
        environment: Its whole environment.
    """

    module: str
    arguments: list[str]
    environment: dict[str, str]


@dataclass
class Server:
    """The sockets of this process, and what it has started.

    Attributes:
        listening: Where test processes connect.
        programs: For each connection, where to tell the exit status of each program, by process id.
    """

    listening: socket.socket
    programs: dict[socket.socket, dict[int, socket.socket]] = field(default_factory=dict)

    def serve(self) -> Order | None:
        """Fork for each order, for ever.

        Returns:
            In a forked process, what it is to become.
        """
        wakeup, wakes = os.pipe()
        for descriptor in (wakeup, wakes):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        while True:
            watched: list[socket.socket | int] = [self.listening, wakeup, *self.programs]
            readable, _, _ = select.select(watched, [], [])
            if wakeup in readable:
                with suppress(BlockingIOError):
                    os.read(wakeup, MESSAGE_BYTES)
                self.reap()
            if self.listening in readable:
                self.accept()
            for connection in [each for each in self.programs if each in readable]:
                message, descriptors, _, _ = socket.recv_fds(connection, MESSAGE_BYTES, 2)
                if not message:
                    self.leave(connection)
                elif (order := self.fork(connection, message, *descriptors)) is not None:
                    for descriptor in (wakeup, wakes):
                        os.close(descriptor)
                    return order

    def accept(self) -> None:
        """Let a test process connect; the first one has everything imported."""
        connection, _ = self.listening.accept()
        preload()
        self.programs[connection] = {}

    def fork(self, connection: socket.socket, message: bytes, output: int, report: int) -> Order | None:
        """Fork a program.

        Args:
            connection: From where it was ordered.
            message: The order.
            output: The file that gets what it prints.
            report: Where its process id and its exit status are told.

        Returns:
            In the forked process, what it is to become.
        """
        parent = os.getpid()
        reports = socket.socket(fileno=report)
        pid = os.fork()
        if pid:
            self.programs[connection][pid] = reports
            os.close(output)
            return None
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)
        reports.send(b"%d" % os.getpid())
        for others in self.programs.values():
            for other in others.values():
                other.close()
        for each in (reports, self.listening, *self.programs):
            each.close()
        with Path(os.devnull).open() as nothing:
            os.dup2(nothing.fileno(), 0)
        for standard in (1, 2):
            os.dup2(output, standard)
        os.close(output)
        return Order(**json.loads(message))

    def reap(self) -> None:
        """Tell how programs have ended."""
        for programs in self.programs.values():
            for pid in list(programs):
                ended, status = os.waitpid(pid, os.WNOHANG)
                if ended:
                    with programs.pop(pid) as report, suppress(BrokenPipeError):
                        report.send(b"%d" % os.waitstatus_to_exitcode(status))

    def leave(self, connection: socket.socket) -> None:
        """Kill what a test process has left that has gone."""
        connection.close()
        for pid, report in self.programs.pop(connection).items():
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            report.close()


def preload() -> None:
    """Import what programs need, once; what is imported starts no thread."""
    if gc.get_freeze_count():
        return
    for name in PRELOADED:
        importlib.import_module(name)
    from workers.warm_up import warm_up

    # As the product's own fork server does.
    warm_up()
    if threading.active_count() > 1:
        raise SystemExit(f"threads would be missing after a fork: {threading.enumerate()}")
    gc.collect()
    gc.freeze()


def become(order: Order) -> int:
    """Run the program in this process.

    Returns:
        Its exit status.
    """
    os.environ.clear()
    os.environ.update(order.environment)
    time.tzset()
    zoneinfo.reset_tzpath()
    sys.path[1:1] = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.argv = [order.module, *order.arguments]
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, write_through="PYTHONUNBUFFERED" in os.environ)  # type: ignore[union-attr]
    from prefect.context import refresh_global_settings_context
    from prefect.logging.configuration import setup_logging

    refresh_global_settings_context()
    setup_logging()
    try:
        runpy.run_module(order.module, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, str):
            sys.stderr.write(f"{ended.code}\n")
            return 1
        return ended.code or 0
    except Exception:  # noqa: BLE001 - as the interpreter does with what a program raises
        traceback.print_exc()
        return 1
    return 0


def main() -> int:
    """Serve until this process is killed; in a forked one, run the program that was ordered."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listening:
        listening.bind(sys.argv[1])
        listening.listen()
        order = Server(listening).serve()
    return 0 if order is None else become(order)


if __name__ == "__main__":
    sys.exit(main())
