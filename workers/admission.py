"""What is checked before a worker starts: its work pool, its name, its rights."""

import fcntl
import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from tempfile import gettempdir

import httpx
from prefect.client.orchestration import PrefectClient, get_client
from prefect.exceptions import ObjectNotFound
from prefect.logging import get_logger
from prefect.settings import get_current_settings

from workers.errors import WorkerError, WorkerNameTaken, WorkerRefused, WorkPoolUnfit

SERVED_TYPES = ("process",)
REFUSALS = (401, 403)
# A worker that has not been heard of for so long has gone, at the usual pace of heartbeats.
SILENCE = timedelta(seconds=90)

logger = get_logger("hr.worker")


async def admit(work_pool: str, name: str, worker_type: str) -> int:
    """Check that a worker can serve a work pool, and hold its name on this machine.

    Args:
        work_pool: The work pool.
        name: The worker's name.
        worker_type: The worker's type.

    Returns:
        The open file that holds the name as long as it is open.

    Raises:
        WorkerError: No server is configured.
        WorkerNameTaken: A worker of that name serves the pool on this machine.
        WorkPoolUnfit: The pool is of another kind.
        WorkerRefused: The server does not let the worker in.
    """
    if get_current_settings().api.url is None:
        raise WorkerError("PREFECT_API_URL is not set: `make up` starts a server and says its address")
    lock = _hold_name(work_pool, name)
    try:
        async with get_client() as client:
            await _check_pool(client, work_pool, worker_type)
            await _check_name(client, work_pool, name)
    except httpx.HTTPStatusError as error:
        os.close(lock)
        if error.response.status_code in REFUSALS:
            raise WorkerRefused(
                f"the Prefect server at {get_current_settings().api.url} refuses this worker "
                f"({error.response.status_code}): check PREFECT_API_AUTH_STRING or PREFECT_API_KEY"
            ) from error
        raise
    except httpx.TransportError:
        # The worker itself waits for the server, and says so.
        return lock
    except BaseException:
        os.close(lock)
        raise
    return lock


async def _check_pool(client: PrefectClient, work_pool: str, worker_type: str) -> None:
    try:
        found = (await client.read_work_pool(work_pool)).type
    except ObjectNotFound:
        return
    if found not in (*SERVED_TYPES, worker_type):
        raise WorkPoolUnfit(
            f"the work pool {work_pool!r} is of type {found!r}; this worker serves pools of type "
            f"{' or '.join((*SERVED_TYPES, worker_type))}: name another pool, or start a worker with --type {found}"
        )


async def _check_name(client: PrefectClient, work_pool: str, name: str) -> None:
    """Warn of a worker of the same name that was alive a moment ago: this one's life before, or one elsewhere."""
    try:
        workers = await client.read_workers_for_work_pool(work_pool)
    except ObjectNotFound:
        return
    for worker in workers:
        heard = worker.last_heartbeat_time
        if worker.name == name and heard is not None and datetime.now(UTC) - heard < SILENCE:
            logger.warning(
                "A worker named %r was heard of at %s. If it runs on another machine, give this one another --name: "
                "the server takes both for one.",
                name,
                heard.isoformat(timespec="seconds"),
            )


def _hold_name(work_pool: str, name: str) -> int:
    key = f"{get_current_settings().api.url} {work_pool} {name}"
    path = Path(gettempdir()) / f"hr-worker-{os.getuid()}-{sha256(key.encode()).hexdigest()[:16]}.lock"
    descriptor = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        owner = os.pread(descriptor, 20, 0).decode() or "unknown"
        os.close(descriptor)
        raise WorkerNameTaken(
            f"a worker named {name!r} serves the work pool {work_pool!r} on this machine already (process {owner}): "
            "stop it, or give this one another --name"
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor
