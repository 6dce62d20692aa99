"""The warm process by itself."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest

from tests.integration.workers.system import wait_until_async
from workers.errors import ForkServerLost
from workers.fork_client import ForkServer, ForkServers
from workers.orders import Order


@pytest.fixture
async def servers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ForkServers]:
    """Fork servers that import the module `warm` of the test's folder."""
    (tmp_path / "warm.py").write_text("VALUE = 1\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    servers = ForkServers(["warm"])
    yield servers
    await servers.close()


def make_order(tmp_path: Path) -> Order:
    """An order that fails: there is no such file."""
    missing = str(tmp_path / "missing.json")
    arguments = {"kind": "crashed", "manifest": missing, "flow_run": missing, "state": missing}
    return Order("hook", arguments, dict(os.environ), str(tmp_path), shows_output=False)


async def test_children_end_with_their_own_status(servers: ForkServers, tmp_path: Path) -> None:
    process = await servers.fork(make_order(tmp_path))
    async with asyncio.timeout(60):
        assert await process.wait() == 1


async def test_a_killed_child_ends_with_its_signal(servers: ForkServers, tmp_path: Path) -> None:
    fifo = tmp_path / "manifest"
    os.mkfifo(fifo)
    arguments = {"kind": "crashed", "manifest": str(fifo), "flow_run": "", "state": ""}
    process = await servers.fork(Order("hook", arguments, dict(os.environ), str(tmp_path)))
    # It waits for somebody who writes to the pipe.
    os.killpg(process.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        assert await process.wait() == -signal.SIGKILL


async def test_a_changed_file_brings_a_new_server(servers: ForkServers, tmp_path: Path) -> None:
    first = await servers.ensure()
    assert await servers.ensure() is first
    (tmp_path / "warm.py").write_text("VALUE = 2  # changed\n")
    second = await servers.ensure()
    assert second.pid != first.pid
    await wait_until_async(lambda: not psutil.pid_exists(first.pid), "the old server ends")


async def test_a_changed_file_of_a_flow_that_was_imported_later_brings_a_new_server(
    servers: ForkServers, tmp_path: Path
) -> None:
    later = tmp_path / "later.py"
    later.write_text("FLOW = 1\n")
    first = await servers.ensure()
    process = await servers.fork(make_order(tmp_path))
    process.shared_flows.add("later.FLOW")
    assert (await servers.fork(make_order(tmp_path))).shared_flows == {"later.FLOW"}
    assert await servers.ensure() is first
    later.write_text("FLOW = 2  # changed\n")
    assert (await servers.ensure()).pid != first.pid
    assert (await servers.fork(make_order(tmp_path))).shared_flows == set()


async def test_a_flow_that_cannot_be_imported_later_does_not_stop_the_server(
    servers: ForkServers, tmp_path: Path
) -> None:
    (tmp_path / "later.py").write_text("raise RuntimeError('not today')\n")
    first = await servers.ensure()
    (await servers.fork(make_order(tmp_path))).shared_flows.add("later.FLOW")
    async with asyncio.timeout(60):
        assert await (await servers.fork(make_order(tmp_path))).wait() == 1
    assert await servers.ensure() is first


async def test_a_server_with_children_ends_after_them(servers: ForkServers, tmp_path: Path) -> None:
    fifo = tmp_path / "manifest"
    os.mkfifo(fifo)
    arguments = {"kind": "crashed", "manifest": str(fifo), "flow_run": "", "state": ""}
    process = await servers.fork(Order("hook", arguments, dict(os.environ), str(tmp_path)))
    first = servers.current
    assert first is not None
    await servers.reload()
    assert psutil.pid_exists(process.pid)
    assert psutil.pid_exists(first.pid)
    os.killpg(process.pid, signal.SIGKILL)
    assert await process.wait() == -signal.SIGKILL
    await wait_until_async(lambda: not psutil.pid_exists(first.pid), "the old server ends")


async def test_a_killed_server_is_replaced(servers: ForkServers, tmp_path: Path) -> None:
    first = await servers.ensure()
    first.kill()
    process = await servers.fork(make_order(tmp_path))
    async with asyncio.timeout(60):
        assert await process.wait() == 1
    assert servers.current is not None
    assert servers.current.pid != first.pid


async def test_the_end_of_a_child_is_seen_without_its_server(servers: ForkServers, tmp_path: Path) -> None:
    fifo = tmp_path / "manifest"
    os.mkfifo(fifo)
    arguments = {"kind": "crashed", "manifest": str(fifo), "flow_run": "", "state": ""}
    process = await servers.fork(Order("hook", arguments, dict(os.environ), str(tmp_path)))
    server = servers.current
    assert server is not None
    server.kill()
    await server.wait_closed()
    assert process.returncode is None
    os.killpg(process.pid, signal.SIGKILL)
    async with asyncio.timeout(60):
        assert await process.wait() != 0


async def test_a_server_that_was_never_started_refuses(tmp_path: Path) -> None:
    with pytest.raises(ForkServerLost):
        await ForkServer([]).fork(make_order(tmp_path))


async def test_a_module_that_cannot_be_imported_does_not_stop_the_server(tmp_path: Path) -> None:
    servers = ForkServers(["not_installed_anywhere"])
    try:
        assert (await servers.ensure()).is_running
    finally:
        await servers.close()
