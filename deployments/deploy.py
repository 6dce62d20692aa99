"""Brings a Prefect server to what `prefect.yaml` says. Doing it again changes nothing."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import NamedTuple

import httpx
from prefect.client.orchestration import PrefectClient, SyncPrefectClient, get_client
from prefect.client.schemas.actions import WorkPoolCreate, WorkPoolUpdate
from prefect.exceptions import ObjectAlreadyExists
from prefect.settings import get_current_settings

from deployments.automations import ensure_automations
from deployments.schedules import read_deployments
from deployments.work_queues import ensure_queues
from errors import SuiteError

REPOSITORY = Path(__file__).resolve().parents[1]
WORK_POOL = "hr"
SYNC_DEPLOYMENT = "schedule-sync/schedule-sync"
# A Prefect server on SQLite ends six runs a second one after another, but 0.8 a second when five run at once: more at a
# time is less in total. On PostgreSQL the pool can take more.
RUNS_AT_ONCE = 3
DEPLOY_LIMIT = 300


class DeployError(SuiteError):
    """Prefect did not take the deployments."""


class DeployedFlow(NamedTuple):
    """One deployment as the server has it."""

    name: str
    schedules: tuple[str, ...]


@contextmanager
def connect() -> Iterator[SyncPrefectClient]:
    """Open a client of the Prefect server that `PREFECT_API_URL` names.

    Yields:
        The client.

    Raises:
        DeployError: No server is configured, or it cannot be reached.
    """
    with _explain_outage(), get_client(sync_client=True) as client:
        yield client


@asynccontextmanager
async def connect_async() -> AsyncIterator[PrefectClient]:
    """Open an asynchronous client; see `connect`.

    Yields:
        The client.

    Raises:
        DeployError: No server is configured, or it cannot be reached.
    """
    with _explain_outage():
        async with get_client() as client:
            yield client


@contextmanager
def _explain_outage() -> Iterator[None]:
    address = get_current_settings().api.url
    if address is None:
        # Prefect would start a server of its own for this one process.
        raise DeployError(
            "PREFECT_API_URL is not set: `make up` starts a server and says its address, for example "
            "PREFECT_API_URL=http://127.0.0.1:4200/api"
        )
    try:
        yield
    except httpx.TransportError as error:
        raise DeployError(
            f"the Prefect server at {address} (PREFECT_API_URL) cannot be reached: {error}. "
            "Check that it runs and that the address is right"
        ) from error


def ensure_work_pool(runs_at_once: int | None = None) -> None:
    """Create the work pool that the deployments name, if it is missing.

    Args:
        runs_at_once: How many runs the pool lets run at the same time. By default 3 for a new pool; an existing one
            keeps its limit.

    Raises:
        DeployError: No server is configured, or it cannot be reached.
    """
    with connect() as client:
        try:
            client.create_work_pool(
                WorkPoolCreate(
                    name=WORK_POOL,
                    type="process",
                    description="Runs of the HR suite, each a process on the worker's machine.",
                    concurrency_limit=runs_at_once or RUNS_AT_ONCE,
                )
            )
        except ObjectAlreadyExists:
            if runs_at_once is not None:
                client.update_work_pool(WORK_POOL, WorkPoolUpdate(concurrency_limit=runs_at_once))


def deploy_all(runs_at_once: int | None = None) -> list[DeployedFlow]:
    """Create or update the work pool and all deployments of `prefect.yaml` on the server of `PREFECT_API_URL`.

    The server notes the folder of this checkout as the place of the code: a worker must find the same checkout there.

    Args:
        runs_at_once: See `ensure_work_pool`.

    Returns:
        All deployments of the work pool, by name.

    Raises:
        DeployError: There is no server, or it refused a deployment; the message holds what Prefect said.
    """
    ensure_work_pool(runs_at_once)
    try:
        # Prefect reads prefect.yaml in its command only; its functions for that are private.
        result = subprocess.run(
            [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all"],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            check=False,
            timeout=DEPLOY_LIMIT,
        )
    except subprocess.TimeoutExpired:
        raise DeployError(
            f"`prefect deploy --all` did not end within {DEPLOY_LIMIT} s: look at the log of the Prefect server"
        ) from None
    if result.returncode != 0:
        said = "\n".join((result.stdout + result.stderr).strip().splitlines()[-20:])
        raise DeployError(
            f"`prefect deploy --all` failed with status {result.returncode}; correct prefect.yaml:\n{said}"
        )
    return asyncio.run(_complete())


async def find_differences() -> list[str]:
    """Say where the server of `PREFECT_API_URL` differs from `prefect.yaml`; changes nothing.

    Returns:
        A sentence for each difference.

    Raises:
        DeployError: There is no server.
    """
    # Imported here: it imports this module.
    from deployments.drift import find_drift

    async with connect_async() as client:
        return await find_drift(client, WORK_POOL)


async def list_deployments(client: PrefectClient) -> list[DeployedFlow]:
    """List the deployments of the work pool.

    Args:
        client: A client of the Prefect server.

    Returns:
        Their names as `flow/deployment` and their active schedules, by name.
    """
    flows = {str(flow.id): flow.name for flow in await client.read_flows()}
    return sorted(
        DeployedFlow(
            f"{flows[str(each.flow_id)]}/{each.name}",
            tuple(str(schedule.schedule) for schedule in each.schedules if schedule.active),
        )
        for each in await read_deployments(client, WORK_POOL)
    )


async def _complete() -> list[DeployedFlow]:
    """Make what belongs to the deployments and is not in prefect.yaml: the order of the queues, the automations."""
    async with connect_async() as client:
        await ensure_queues(client, WORK_POOL, [])
        sync = await client.read_deployment_by_name(SYNC_DEPLOYMENT)
        await ensure_automations(client, sync.id)
        return await list_deployments(client)
