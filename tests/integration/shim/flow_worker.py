"""A small worker of a work pool: forks a process for each run from one that has imported everything already.

The stock worker takes seconds to start a run. This one does what tests need of it: it starts runs that are due, marks
those crashed whose process ends without a word, and ends those that are to be cancelled.
"""

import asyncio
import logging
import os
import signal
import sys
import time
from datetime import UTC, datetime
from importlib import import_module
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import FlowRunFilter
from prefect.flow_engine import run_flow
from prefect.states import Cancelled, Crashed, Pending
from prefect.utilities.importtools import import_object

SAMPLES = ["tests.integration.shim.sample_flows", "tests.integration.shim.sample_tasks"]

logger = logging.getLogger("flow_worker")
MOST_AT_ONCE = 4
# Every question writes into the server's database: asked more often, SQLite has no time left for others.
PAUSE = 0.5


def main(pool: str, *preloaded: str) -> None:
    for module in preloaded or SAMPLES:
        import_module(module)
    children: dict[int, UUID] = {}
    with get_client(sync_client=True) as client:
        sys.stdout.write("flow worker ready\n")
        sys.stdout.flush()
        while True:
            try:
                reap(client, children)
                cancel(client, children)
                start(client, pool, children)
            except OSError as error:
                logger.warning("the server is away: %s", error)
            except Exception:
                logger.exception("one pass failed")
            time.sleep(PAUSE)


def start(client: SyncPrefectClient, pool: str, children: dict[int, UUID]) -> None:
    if len(children) >= MOST_AT_ONCE:
        return
    due = client.get_scheduled_flow_runs_for_work_pool(pool, scheduled_before=datetime.now(UTC))
    for response in due[: MOST_AT_ONCE - len(children)]:
        flow_run = response.flow_run
        if flow_run.id in children.values():
            continue
        assert flow_run.deployment_id is not None
        # Asked before the run is taken: a question that fails later would leave it Pending for ever.
        entrypoint = client.read_deployment(flow_run.deployment_id).entrypoint
        if client.set_flow_run_state(flow_run.id, Pending()).status.value != "ACCEPT":
            continue
        pid = os.fork()
        if pid == 0:
            run_in_child(flow_run, str(entrypoint))
        children[pid] = flow_run.id


def run_in_child(flow_run: Any, entrypoint: str) -> None:
    status = 1
    try:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        ended = run_flow(import_object(entrypoint), flow_run=flow_run)
        if asyncio.iscoroutine(ended):
            asyncio.run(ended)
        status = 0
    except Exception:
        logger.exception("%s", flow_run.name)
    finally:
        sys.stdout.flush()
        os._exit(status)


def reap(client: SyncPrefectClient, children: dict[int, UUID]) -> None:
    for pid in list(children):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended and os.WIFSIGNALED(status):
            state = client.read_flow_run(children[pid]).state
            if state is not None and not state.is_final():
                client.set_flow_run_state(children[pid], Crashed(message=f"signal {os.WTERMSIG(status)}"))
        if ended:
            del children[pid]


def cancel(client: SyncPrefectClient, children: dict[int, UUID]) -> None:
    if not children:
        return
    wanted = FlowRunFilter.model_validate(
        {"id": {"any_": list(children.values())}, "state": {"type": {"any_": ["CANCELLING"]}}}
    )
    for flow_run in client.read_flow_runs(flow_run_filter=wanted):
        client.set_flow_run_state(flow_run.id, Cancelled(), force=True)
        os.kill(next(pid for pid, run_id in children.items() if run_id == flow_run.id), signal.SIGKILL)


if __name__ == "__main__":
    main(*sys.argv[1:])
