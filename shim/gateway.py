"""The gateway: what a Celery worker does for tasks that run as Prefect flows.

Messages become flow runs, one run for each task id, however often the message comes. From then on Prefect holds the
call and the message is acknowledged; which worker follows it is written in the ledger. One thread creates runs, one
creates those of batches, one follows them all. None needs the worker's pool, so it is the same under prefork, threads,
solo and gevent.
"""

import logging
import os
import queue
import socket
import threading
import uuid
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Any

import httpx
from celery import bootsteps, states
from celery.utils.time import rate
from celery.worker.control import inspect_command
from celery.worker.state import task_ready

from shim import report
from shim.batches.collector import Collector
from shim.batches.creation import acknowledge_all
from shim.call import Call
from shim.errors import ArgumentInvalid, DeploymentMissing, RunFailed
from shim.follower import OUTAGES, Followed, Follower
from shim.intake import FlowRequest
from shim.ledger import open_ledger
from shim.task import FlowTask

logger = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
LEFT_SECONDS = 2.0
REDELIVER_SECONDS = 5.0
SHUTDOWN_NOTICE_SECONDS = 10.0
STOP_SECONDS = 5.0
SERVER_ERROR = 500


@inspect_command(name="flow_runs")  # type: ignore[untyped-decorator]
def inspect_flow_runs(state: Any, **_: Any) -> dict[str, Any]:
    """Say what the worker's gateway does: `celery -A celery_app inspect flow_runs`."""
    follower = state.consumer.controller.gateway.follower
    batched = {
        request.id: follower.runs.url(batch.run_id)
        for batch in follower.batches.snapshot()
        for request in list(batch.open.values())
    }
    return {
        "followed": {call.request.id: follower.runs.url(call.run_id) for call in follower.snapshot()} | batched,
        "created": follower.runs.created,
        "requests": follower.runs.requests,
        "prefect": follower.runs.api_url,
    }


class GatewayStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery has no annotations
    """Starts the gateway with the worker, after the pool has made its processes, and stops it with the worker."""

    requires = ("celery.worker.components:Pool",)

    def create(self, w: Any) -> "Gateway":
        """Make the gateway; the worker's consumer finds it as `gateway` of the worker."""
        w.gateway = Gateway(w.app, w.hostname)
        return w.gateway  # type: ignore[no-any-return]


class Gateway:
    """Creates the runs of calls and follows them to their ends.

    Args:
        app: The Celery application.
        hostname: The worker's node name.
    """

    def __init__(self, app: Any, hostname: str) -> None:
        self.app = app
        self.hostname = hostname
        self._taken: queue.SimpleQueue[FlowRequest | None] = queue.SimpleQueue()
        self._collector = Collector(self._is_batch_under_way)
        self.consumer: Any = None
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []
        self.follower: Follower | None = None
        self._exits = ExitStack()

    def follows(self, task: Any) -> bool:
        """Whether calls of a task become flow runs."""
        return isinstance(task, FlowTask) and task.runs_as_flow

    def batches(self, request: FlowRequest) -> bool:
        """Whether a call runs together with others: its task wants it, and it asks for nothing that a batch lacks."""
        return request.task.batch is not None and request.eta is None and not any(request.time_limits)

    def take(self, request: FlowRequest) -> None:
        """Take over a request; returns at once."""
        if self.batches(request):
            self._collector.add(request)
        else:
            self._taken.put(request)

    def start(self) -> None:
        """Start the threads; called by the worker."""
        from shim.batches.runs import BatchRuns

        life = f"{self.hostname}/{socket.gethostname()}/{os.getpid()}/{uuid.uuid4().hex[:8]}"
        # One line for each request would bury the worker's own log.
        logging.getLogger("httpx").setLevel(logging.WARNING)
        runs = self._exits.enter_context(BatchRuns())
        self.follower = Follower(self.app, runs, open_ledger(self.app, life), self.hostname)
        logger.info("Calls become flow runs on %s", self.follower.runs.api_url)
        threads = {
            "flow run creation": self._create_runs,
            "batch creation": self._create_batches,
            "flow runs": self.follower.run,
            "redelivery": self._redeliver,
        }
        for name, target in threads.items():
            thread = threading.Thread(target=target, name=name, daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self, parent: Any = None) -> None:
        """Follow all runs to their ends, then stop; calls that have no run yet stay with the broker."""
        self._stopping.set()
        self._taken.put(None)
        self._collector.close()
        if self.follower is not None:
            while not self.follower.idle.wait(SHUTDOWN_NOTICE_SECONDS):
                logger.info(
                    "Waiting for %d flow runs; a second signal leaves them to another worker", self.follower.count
                )
        self.terminate(parent)

    def terminate(self, parent: Any = None) -> None:
        """Stop at once and leave the runs to another worker, or to the next life of this one."""
        self._stopping.set()
        self._taken.put(None)
        self._collector.close()
        if self.follower is not None:
            self.follower.stop()
        for thread in self._threads:
            thread.join(STOP_SECONDS)
        self._exits.close()

    def _create_runs(self) -> None:
        while (request := self._taken.get()) is not None and not self._stopping.is_set():
            while not self._stopping.is_set() and not self._try_to_create(request):
                self._stopping.wait(RETRY_SECONDS)

    def _redeliver(self) -> None:
        """Have Redis deliver again what lost workers left unacknowledged.

        Celery's Redis transport does so by itself only when it polls and nothing comes; without an event loop (every
        pool but prefork) its own workers' heartbeats keep that from happening.
        """
        while not self._stopping.wait(REDELIVER_SECONDS):
            transport = getattr(getattr(self.consumer, "connection", None), "transport", None)
            restore = getattr(getattr(transport, "cycle", None), "maybe_restore_messages", None)
            if restore is not None:
                # RuntimeError: the connection is being made again, and its channels change.
                with suppress(RuntimeError, *OUTAGES):
                    restore()

    def _create_batches(self) -> None:
        while requests := self._collector.take():
            batch_id = str(uuid.uuid4())
            while not self._stopping.is_set() and not self._try_to_create_batch(requests, batch_id):
                self._stopping.wait(RETRY_SECONDS)

    def _is_batch_under_way(self, task_name: str) -> bool:
        return self.follower is not None and self.follower.batches.is_under_way(task_name)

    def _try_to_create_batch(self, requests: list[FlowRequest], batch_id: str) -> bool:
        """Create the run of a batch, and say whether its calls are dealt with."""
        name = requests[0].name
        try:
            self._create_batch([request for request in requests if not request.acknowledged], batch_id)
        except httpx.HTTPStatusError as error:
            if error.response.status_code < SERVER_ERROR:
                refusal = RunFailed(f"Prefect refuses a batch of {name}: {error.response.text}")
                return self._try_to_refuse_all(requests, refusal)
            logger.warning("%d calls of %s wait: %s", len(requests), name, error)
            return False
        except OUTAGES as error:
            logger.warning("%d calls of %s wait: %s: %s", len(requests), name, type(error).__name__, error)
            return False
        except DeploymentMissing as error:
            return self._try_to_refuse_all(requests, error)
        except Exception as error:
            # One batch that cannot be handled must not stop all others.
            logger.exception("A batch of %s cannot become a flow run", name)
            return self._try_to_refuse_all(requests, error)
        return True

    def _create_batch(self, requests: list[FlowRequest], batch_id: str) -> None:
        follower = self.follower
        if follower is None:
            return
        sifted = follower.batches.creation.sift(requests)
        if not sifted:
            return
        batch, left = follower.batches.creation.create(sifted, batch_id)
        if batch.open:
            accepted = list(batch.open.values())
            follower.follow_batch(batch)
            if follower.ledger.is_shared:
                acknowledge_all(accepted)
            logger.info(
                "%d calls of %s are flow run %s", len(batch.members), batch.task.name, follower.runs.url(batch.run_id)
            )
        for request in left:
            # Whoever followed them is gone; they are this worker's, or another's, as soon as that batch is taken over.
            logger.info("Task %s[%s] waits for its batch to be taken over", request.name, request.id)
            threading.Timer(LEFT_SECONDS, self._collector.add, [request]).start()

    def _try_to_refuse_all(self, requests: list[FlowRequest], error: Exception) -> bool:
        return all(self._try_to_refuse(request, error) for request in requests if not request.acknowledged)

    def _try_to_create(self, request: FlowRequest) -> bool:
        """Create the run of a request, and say whether the request is dealt with."""
        try:
            self._create(request)
        except httpx.HTTPStatusError as error:
            if error.response.status_code < SERVER_ERROR:
                refusal = RunFailed(f"Prefect refuses a run of {request.name}: {error.response.text}")
                return self._try_to_refuse(request, refusal)
            logger.warning("Task %s[%s] waits: %s", request.name, request.id, error)
            return False
        except OUTAGES as error:
            logger.warning("Task %s[%s] waits: %s: %s", request.name, request.id, type(error).__name__, error)
            return False
        except (ArgumentInvalid, DeploymentMissing) as error:
            return self._try_to_refuse(request, error)
        except Exception as error:
            # One call that cannot be handled must not stop all others.
            logger.exception("Task %s[%s] cannot become a flow run", request.name, request.id)
            return self._try_to_refuse(request, error)
        return True

    def _create(self, request: FlowRequest) -> None:
        follower = self.follower
        if follower is None or request.revoked():
            return
        call = Call.from_request(request)
        if request.task.backend.get_state(request.id) in states.READY_STATES - {states.REVOKED}:
            logger.info("Task %s[%s] has its answer already", request.name, request.id)
            self._drop(request)
            return
        request.task.check_values(call.args, call.kwargs)
        run_id = follower.runs.create(call, request.task, self._delay(request))
        if follower.follow(Followed(call.key, request, run_id)):
            if follower.ledger.is_shared:
                request.acknowledge()
            logger.info("Task %s[%s] is flow run %s", request.name, request.id, follower.runs.url(run_id))
        else:
            logger.info("Task %s[%s] is followed already: flow run %s", request.name, request.id, run_id)
            if follower.ledger.is_shared:
                self._drop(request)

    def _delay(self, request: FlowRequest) -> float:
        """Give the seconds until the run is due: the caller's wish, and the distance that the rate limit keeps."""
        wish = 0.0
        if request.eta is not None:
            wish = max(0.0, (request.eta - datetime.now(UTC)).total_seconds())
        per_second = rate(request.task.rate_limit)
        if not per_second or self.follower is None:
            return wish
        return max(wish, self.follower.ledger.reserve(request.task.name, 1 / per_second))

    def _try_to_refuse(self, request: FlowRequest, error: Exception) -> bool:
        try:
            report.failed(request, error)
        except OUTAGES as outage:
            logger.warning("Task %s[%s] waits: %s: %s", request.name, request.id, type(outage).__name__, outage)
            return False
        request.acknowledge()
        return True

    def _drop(self, request: FlowRequest) -> None:
        task_ready(request)
        request.acknowledge()
