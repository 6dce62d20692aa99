"""From calls that arrived together to the flow run that runs them."""

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from celery import states
from celery.worker.state import task_ready

from shim import report
from shim.batches import answers
from shim.batches.membership import Membership
from shim.batches.runs import BatchRuns
from shim.call import Call
from shim.errors import ArgumentInvalid
from shim.intake import FlowRequest
from shim.ledger import Ledger

logger = logging.getLogger(__name__)

PREFIX = "batch:"


@dataclass
class FollowedBatch:
    """A batch whose run is followed.

    Attributes:
        id: The batch's id, also the run's idempotency key.
        task: The task that its calls call.
        run_id: Its flow run; empty until it is created.
        open: The calls that have no answer yet, by key.
        members: The keys of all its calls.
        runs_now: Whether the run was seen running.
        seen: The artifacts of outcomes that have been dealt with.
        silent_since: When the run's process was first missed, on the monotonic clock.
        due: When the run is to begin, in seconds since 1970; None when that is at once.
    """

    id: str
    task: Any
    run_id: str = ""
    open: dict[str, FlowRequest] = field(default_factory=dict)
    members: list[str] = field(default_factory=list)
    runs_now: bool = False
    seen: set[str] = field(default_factory=set)
    silent_since: float | None = None
    due: int | None = None

    @property
    def key(self) -> str:
        """What the ledger calls it."""
        return f"{PREFIX}{self.id}"

    @property
    def is_under_way(self) -> bool:
        """Whether the run has begun or could."""
        return self.runs_now or self.due is None or self.due <= time.time()


class BatchCreation:
    """Makes batches of calls and creates their flow runs.

    Args:
        runs: Prefect's server.
        ledger: Who follows what.
        membership: Which call is in which batch.
    """

    def __init__(self, runs: BatchRuns, ledger: Ledger, membership: Membership) -> None:
        self._runs = runs
        self._ledger = ledger
        self._membership = membership

    def sift(self, requests: Iterable[FlowRequest]) -> dict[str, FlowRequest]:
        """Refuse calls that cannot run, drop those that have their answer or come twice, and give the others by key."""
        requests = [request for request in requests if not request.revoked()]
        if not requests:
            return {}
        known = answers.read_states(requests[0].task.backend, [request.id for request in requests])
        sifted: dict[str, FlowRequest] = {}
        for request in requests:
            call = Call.from_request(request)
            if known[request.id] in states.READY_STATES - {states.REVOKED}:
                logger.info("Task %s[%s] has its answer already", request.name, request.id)
                self.drop(request)
            elif call.key in sifted:
                logger.info("Task %s[%s] came twice", request.name, request.id)
                self.drop(request)
            elif self._accepts(request, call):
                request.call = call
                sifted[call.key] = request
        return sifted

    def create(self, requests: dict[str, FlowRequest], batch_id: str) -> tuple[FollowedBatch, list[FlowRequest]]:
        """Create the run of a batch.

        The batch is written into the ledger before its run exists, so that whoever comes after a crash knows of it.

        Args:
            requests: The calls by key, all of one task.
            batch_id: The batch's id, the same when it is tried again.

        Returns:
            The batch, and the calls that belong to a batch of a worker that is gone: they are to be tried later.
        """
        task = next(iter(requests.values())).task
        batch = FollowedBatch(batch_id, task)
        self._ledger.claim(batch.key, "")
        elsewhere = self._membership.join(batch.key, list(requests))
        for key in elsewhere.followed:
            logger.info("Task %s[%s] is followed already", task.name, key)
            self.drop(requests[key])
        batch.open = {
            key: request
            for key, request in requests.items()
            if key not in elsewhere.followed and key not in elsewhere.abandoned
        }
        batch.members = list(batch.open)
        if batch.open:
            calls = [request.call for request in batch.open.values()]
            batch.run_id = self._runs.create_batch(batch.id, task, calls)
            self._ledger.claim(batch.key, batch.run_id)
        else:
            self._ledger.finish(batch.key)
        return batch, [requests[key] for key in elsewhere.abandoned]

    def create_again(
        self, batch: FollowedBatch, batch_id: str, requests: dict[str, FlowRequest], due: int
    ) -> FollowedBatch:
        """Create the run in which calls of a batch run again.

        Args:
            batch: The batch that they leave.
            batch_id: The new batch's id, the same whenever this is done again.
            requests: The calls by key, with their new number of retries.
            due: When they are to run, in seconds since 1970.
        """
        again = FollowedBatch(batch_id, batch.task, open=requests, members=list(requests), due=due)
        self._ledger.claim(again.key, "")
        self._membership.join(again.key, again.members, coming_from=batch.key)
        again.run_id = self._runs.create_batch(batch_id, batch.task, [each.call for each in requests.values()], due=due)
        self._ledger.claim(again.key, again.run_id)
        return again

    @staticmethod
    def drop(request: FlowRequest) -> None:
        """Strike a call that is or was answered elsewhere."""
        task_ready(request)
        request.acknowledge()

    @staticmethod
    def _accepts(request: FlowRequest, call: Call) -> bool:
        try:
            request.task.check_values(call.args, call.kwargs)
            call.parameters(request.task.call_signature)
        except ArgumentInvalid as error:
            report.failed(request, error)
            request.acknowledge()
            return False
        return True


def acknowledge_all(requests: Sequence[FlowRequest]) -> None:
    """Acknowledge the messages of calls whose run exists."""
    for request in requests:
        request.acknowledge()
