"""The worker's side of the fork server: starts it, orders children, hears of their ends, replaces it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from prefect.logging import get_logger

from workers.errors import ForkServerLost
from workers.orders import GO, MESSAGE_BYTES, Order, make_channel, write_order

REPOSITORY = Path(__file__).resolve().parents[1]
START_LIMIT = 120.0
FULL_PAUSE = 0.01
# What a process ended with whose fork server ended before it: nobody else is told by the kernel.
UNKNOWN_STATUS = 1

logger = get_logger("hr.worker")


class ForkedProcess:
    """A child of a fork server, with what Prefect's runner asks of a process.

    Attributes:
        pid: Its process id.
        returncode: Its exit status, negative for a signal; None while it runs.
        shared_flows: Entry points that its fork server imports before it forks: see `workers.entrypoints`. The next
            server begins without any, as its code is another.
    """

    def __init__(self, pid: int, shared_flows: set[str]) -> None:
        self.pid = pid
        self.shared_flows = shared_flows
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        # Says when it ends even if its fork server cannot. None: it has ended already.
        self._descriptor: int | None = None
        with suppress(ProcessLookupError):
            self._descriptor = os.pidfd_open(pid)

    def end(self, status: int) -> None:
        """Note how it ended."""
        if self.returncode is None:
            self.returncode = status
            self._ended.set()
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None

    async def wait(self) -> int:
        """Wait for its end.

        Returns:
            Its exit status.
        """
        await self._ended.wait()
        return UNKNOWN_STATUS if self.returncode is None else self.returncode

    def watch(self) -> None:
        """Find out by oneself when it ends, as its fork server has gone."""
        if self._descriptor is None:
            self.end(UNKNOWN_STATUS)
            return
        loop, descriptor = asyncio.get_running_loop(), self._descriptor

        def has_ended() -> None:
            loop.remove_reader(descriptor)
            self.end(UNKNOWN_STATUS)

        loop.add_reader(descriptor, has_ended)


class ForkServer:
    """One fork server and the children that it has.

    Args:
        modules: What it imports before it forks.
        environment: Its environment; a child that has another one spends a quarter of a second on taking it.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
        self._modules = modules
        self._environment = environment
        self._channel: socket.socket | None = None
        self._program: subprocess.Popen[bytes] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._ordered: dict[int, asyncio.Future[ForkedProcess]] = {}
        self._children: dict[int, ForkedProcess] = {}
        self._sources: dict[str, list[int]] = {}
        self._shared_flows: set[str] = set()
        self._numbers = 0
        self._is_retired = False

    @property
    def pid(self) -> int:
        """Its process id."""
        if self._program is None:
            raise ForkServerLost("the fork server has not been started")
        return self._program.pid

    @property
    def is_running(self) -> bool:
        """Whether children can be ordered."""
        return self._program is not None and self._program.poll() is None and not self._is_retired

    async def start(self) -> None:
        """Start it and wait until it has imported everything.

        Raises:
            ForkServerLost: It ended, or took too long.
        """
        self._channel, theirs = make_channel()
        command = [sys.executable, "-m", "workers.fork_server", str(theirs.fileno()), *self._modules]
        path = os.pathsep.join(filter(None, [str(REPOSITORY), self._environment.get("PYTHONPATH")]))
        with theirs:
            self._program = subprocess.Popen(  # noqa: S603, ASYNC220 - returns as soon as the program is loaded
                command,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                env={**self._environment, "PYTHONPATH": path},
            )
        self._reader = asyncio.create_task(self._read(self._channel))
        try:
            async with asyncio.timeout(START_LIMIT):
                await self._ready
        except TimeoutError:
            self.kill()
            raise ForkServerLost(f"the fork server was not ready in {START_LIMIT:g} s: see the worker's log") from None

    async def fork(self, order: Order, note: Callable[[int], None] | None = None) -> ForkedProcess:
        """Have a child forked that carries out an order.

        Args:
            order: What it is to do.
            note: Called with its process id before it does anything.

        Returns:
            The child; it begins when this returns.

        Raises:
            ForkServerLost: The server ended; nothing of the order has been done.
        """
        if self._channel is None or not self.is_running:
            raise ForkServerLost("the fork server has ended")
        self._numbers += 1
        number = self._numbers
        answer: asyncio.Future[ForkedProcess] = asyncio.get_running_loop().create_future()
        self._ordered[number] = answer
        order_file = write_order(replace(order, flows=sorted(self._shared_flows)))
        gate, opener = os.pipe()
        try:
            await self._send(self._channel, str(number).encode(), [order_file, gate])
            process = await answer
            if note is not None:
                note(process.pid)
            # A child that was killed meanwhile is heard of by its exit status.
            with suppress(BrokenPipeError):
                os.write(opener, GO)
        finally:
            self._ordered.pop(number, None)
            for descriptor in (order_file, gate, opener):
                os.close(descriptor)
        return process

    def has_changed(self) -> bool:
        """Whether a file that it has imported is another now."""
        for path, (modified, size) in self._sources.items():
            try:
                status = Path(path).stat()
            except FileNotFoundError:
                return True
            if [status.st_mtime_ns, status.st_size] != [modified, size]:
                return True
        return False

    def retire(self) -> None:
        """Order no more children; end when the last one has ended."""
        self._is_retired = True
        if not self._children and not self._ordered:
            self.close()

    def close(self) -> None:
        """End the server; its children go on."""
        self._is_retired = True
        if self._channel is not None:
            with suppress(OSError):
                self._channel.shutdown(socket.SHUT_RDWR)

    def kill(self) -> None:
        """End the server at once; its children go on."""
        if self._program is not None:
            self._program.kill()

    async def wait_closed(self) -> None:
        """Wait until the server has ended."""
        if self._reader is not None:
            await self._reader

    async def _send(self, channel: socket.socket, message: bytes, descriptors: list[int]) -> None:
        while True:
            try:
                socket.send_fds(channel, [message], descriptors)
            except BlockingIOError:
                await asyncio.sleep(FULL_PAUSE)
            except OSError as error:
                raise ForkServerLost(f"the fork server has ended: {error}") from error
            else:
                return

    async def _read(self, channel: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with suppress(OSError):
            while message := await loop.sock_recv(channel, MESSAGE_BYTES):
                self._take(json.loads(message))
                if self._is_retired and not self._children and not self._ordered:
                    break
        channel.close()
        self._note_loss()
        if self._program is not None:
            await asyncio.to_thread(self._program.wait)

    def _take(self, message: dict[str, Any]) -> None:
        if "ready" in message:
            self._sources = message["ready"]
            for module, reason in message["failed"].items():
                logger.error("%s cannot be imported; runs that need it will fail:\n%s", module, reason)
            if message["threads"]:
                # A child has none of them, but may find their locks held.
                logger.warning("Modules of the flows start threads when imported: %s", ", ".join(message["threads"]))
            self._ready.set_result(None)
        elif "sources" in message:
            self._sources = message["sources"]
        elif "status" in message:
            process = self._children.pop(message["pid"], None)
            if process is not None:
                process.end(message["status"])
        else:
            process = self._children[message["pid"]] = ForkedProcess(message["pid"], self._shared_flows)
            answer = self._ordered.get(message["number"])
            if answer is not None and not answer.done():
                answer.set_result(process)

    def _note_loss(self) -> None:
        lost = ForkServerLost("the fork server ended unexpectedly")
        answers: list[asyncio.Future[Any]] = [self._ready, *self._ordered.values()]
        for answer in answers:
            if not answer.done():
                answer.set_exception(lost)
                # Whoever waits for it hears of it; nobody may wait.
                answer.exception()
        for process in self._children.values():
            process.watch()
        self._children.clear()


class ForkServers:
    """The fork server in use, replaced when it dies or when its code has changed.

    Attributes:
        environment: The fork servers' environment.

    Args:
        modules: What they import.
        environment: Their environment.
    """

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str] = os.environ) -> None:
        self._modules = modules
        self.environment = environment
        self._current: ForkServer | None = None
        self._all: list[ForkServer] = []
        self._lock = asyncio.Lock()

    @property
    def current(self) -> ForkServer | None:
        """The server in use."""
        return self._current

    async def ensure(self) -> ForkServer:
        """Give a server that runs the code as it is now.

        Raises:
            ForkServerLost: A new one could not be started.
        """
        async with self._lock:
            if self._current is not None and self._current.is_running and not self._current.has_changed():
                return self._current
            if self._current is not None:
                reason = "its code has changed" if self._current.is_running else "it ended unexpectedly"
                logger.info("Replacing the fork server %s: %s", self._current.pid, reason)
            await self._replace()
            if self._current is None:
                raise AssertionError("a fork server was started")
            return self._current

    async def reload(self) -> None:
        """Replace the server; runs that it has forked go on."""
        async with self._lock:
            await self._replace()

    async def fork(self, order: Order, note: Callable[[int], None] | None = None) -> ForkedProcess:
        """Fork a child; see `ForkServer.fork`. Tries a second server when the first one dies meanwhile."""
        server = await self.ensure()
        try:
            return await server.fork(order, note)
        except ForkServerLost:
            # Its process may still look alive for a moment.
            server.retire()
            return await (await self.ensure()).fork(order, note)

    async def close(self) -> None:
        """End all servers; children that still run go on."""
        for server in self._all:
            server.close()
        for server in self._all:
            await server.wait_closed()

    async def _replace(self) -> None:
        new = ForkServer(self._modules, self.environment)
        await new.start()
        old, self._current = self._current, new
        self._all = [server for server in self._all if server.is_running] + [new]
        if old is not None:
            old.retire()
