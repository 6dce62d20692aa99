"""The warm process: imports Prefect's engine and the flows once, then forks a child for each run.

    python -m workers.fork_server <descriptor> <module> …

It has one thread, no event loop and no connection but the one to its worker, so that nothing half done is copied into
a child. It ends when the worker closes that connection, or dies; its children then go on by themselves.

The module imports only what it needs before anything else may register a function for the end of the process.
"""

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from workers.orders import GO, Order, read_order

# What every run needs, beside the flows themselves.
ENGINE = (
    "workers.child",
    "prefect.main",
    "prefect.flow_engine",
    "prefect.task_engine",
    "prefect.deployments.steps.pull",
    "prefect.events.clients",
    "websockets.asyncio.client",
    "anyio._backends._asyncio",
    "encodings.idna",
    "rich._emoji_codes",
)

NUMBER_BYTES = 32
WAKEUP_BYTES = 4096
# Characters; a message has a largest size.
LONGEST_TRACEBACK = 4000


class Exit:
    """Ends a child with its status once Python has done everything else that it does at the end.

    Registered first, so called last. Taking the interpreter apart would touch, and so copy, most of the memory that
    the child shares with its siblings.
    """

    def __init__(self) -> None:
        self.status: int | None = None
        atexit.register(self)

    def __call__(self) -> None:
        """End at once, in a child."""
        if self.status is not None:
            for stream in (sys.stdout, sys.stderr):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(self.status)


def main() -> int:
    """Serve a worker; in a child, do what was ordered.

    Returns:
        The exit status.
    """
    end = Exit()
    channel = socket.socket(fileno=int(sys.argv[1]))
    # The worker decides when to end; Ctrl-C in its terminal reaches this process too.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    found_at_start = set(sys.modules)
    failed = preload(sys.argv[2:])
    threads = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    _send(channel, {"ready": _list_sources(found_at_start), "failed": failed, "threads": threads})
    # Only here: the module imports Prefect.
    from workers.child import carry_out
    from workers.surroundings import own_modules, take_environment
    from workers.warm_up import warm_up

    warm_up()
    own_modules.note()
    gc.collect()
    gc.freeze()
    flows = SharedFlows(channel, found_at_start)
    order = serve(channel, take_environment, flows.load)
    if order is None:
        return 0
    end.status = 1
    try:
        end.status = carry_out(order)
    except SystemExit as ended:
        # How Prefect's engine ends a run that was paused, stopped or refused.
        end.status = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    return end.status


def preload(modules: list[str]) -> dict[str, str]:
    """Import Prefect's engine, then what the flows need.

    Args:
        modules: Modules with flows.

    Returns:
        Why modules could not be imported: their runs will say so too.
    """
    failed = {}
    for name in (*ENGINE, *modules):
        try:
            importlib.import_module(name)
        except Exception:  # noqa: BLE001 - a module may raise anything; the runs that need it will fail with it
            failed[name] = traceback.format_exc()[-LONGEST_TRACEBACK:]
    return failed


class SharedFlows:
    """Flows that are imported after the start, because a run has shown that they can be.

    Args:
        channel: The connection to the worker.
        found_at_start: The modules that this program did not choose to import.
    """

    def __init__(self, channel: socket.socket, found_at_start: set[str]) -> None:
        self._channel = channel
        self._found_at_start = found_at_start
        self._loaded: set[str] = set()

    def load(self, entrypoints: Sequence[str]) -> None:
        """Import those that have not been yet."""
        from workers.entrypoints import load_entrypoint
        from workers.surroundings import own_modules

        new = [entrypoint for entrypoint in entrypoints if entrypoint not in self._loaded]
        if not new:
            return
        for entrypoint in new:
            self._loaded.add(entrypoint)
            # What is wrong with it, its next run finds too, and says.
            with suppress(Exception):
                load_entrypoint(entrypoint)
        _send(self._channel, {"sources": _list_sources(self._found_at_start)})
        own_modules.note()
        gc.collect()
        gc.freeze()


def serve(
    channel: socket.socket,
    take_environment: Callable[[Mapping[str, str]], None],
    load_flows: Callable[[Sequence[str]], None],
) -> Order | None:
    """Fork a child for each order until the worker has gone.

    Args:
        channel: The connection to the worker.
        take_environment: Takes an order's environment. Done before the fork, so that what is read from the environment
            is read once for all children that have the same.
        load_flows: Imports an order's flows. Done before the fork, once for all children.

    Returns:
        In a child, what it has to do; in the server, None.
    """
    wakeup, wakes = os.pipe()
    for descriptor in (wakeup, wakes):
        os.set_blocking(descriptor, False)
    signal.set_wakeup_fd(wakes, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _note)
    while True:
        readable, _, _ = select.select([channel.fileno(), wakeup], [], [])
        if wakeup in readable:
            with suppress(BlockingIOError):
                os.read(wakeup, WAKEUP_BYTES)
            _report_ended(channel)
        if channel.fileno() not in readable:
            continue
        number, descriptors, _, _ = socket.recv_fds(channel, NUMBER_BYTES, 2)
        if not number:
            return None
        gate, order = descriptors[1], read_order(descriptors[0])
        with suppress(Exception):
            # What is wrong with it, the child finds too, and says.
            take_environment(order.environment)
        load_flows(order.flows)
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for descriptor in (wakeup, wakes):
                os.close(descriptor)
            channel.close()
            return _begin(order, gate)
        # Both sides do it: whichever comes first, the group exists before the worker hears of the child.
        with suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        os.close(gate)
        _send(channel, {"number": int(number), "pid": pid})


def _begin(order: Order, gate: int) -> Order:
    os.setpgid(0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.read(gate, 1) != GO:
        os._exit(0)
    os.close(gate)
    return order


def _report_ended(channel: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _send(channel, {"pid": pid, "status": os.waitstatus_to_exitcode(status)})


def _send(channel: socket.socket, message: dict[str, object]) -> None:
    # A worker that has gone is noticed when the next order is waited for.
    with suppress(BrokenPipeError, ConnectionResetError):
        channel.send(json.dumps(message).encode())


def _list_sources(before: set[str]) -> dict[str, list[int]]:
    """Give the files of the suite's own that were imported, with what tells whether they have changed since."""
    files = {}
    # Only here: the module imports Prefect.
    from workers.surroundings import find_file

    for name in list(sys.modules):
        path = find_file(name)
        if name in before or not path or path.startswith((sys.prefix, sys.base_prefix)):
            continue
        with suppress(OSError):
            status = Path(path).stat()
            files[path] = [status.st_mtime_ns, status.st_size]
    return files


def _note(_number: int, _frame: FrameType | None) -> None:
    """Let the signal be written to the pipe that `select` watches."""


if __name__ == "__main__":
    sys.exit(main())
