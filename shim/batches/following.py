"""Follows the flow runs of batches and reports what becomes of each call."""

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from celery import states
from celery.worker.state import revoked as revoked_ids
from celery.worker.state import task_reserved

from shim import report
from shim.batches import answers
from shim.batches.creation import PREFIX, BatchCreation, FollowedBatch
from shim.batches.membership import SILENT_SECONDS, Membership
from shim.batches.records import CallOutcome, Reference, decode_outcomes
from shim.batches.runs import BatchRuns
from shim.call import Call
from shim.errors import RunFailed
from shim.intake import FlowRequest
from shim.ledger import Ledger
from shim.runs import FINAL, PAGE

logger = logging.getLogger(__name__)

INVENTORY_SECONDS = 10.0
# A run that a worker has taken and not begun for so long has lost that worker.
PENDING_SECONDS = 60.0


class BatchFollower:
    """Follows batches; `look` is called again and again by the thread that follows all runs.

    Args:
        app: The Celery application.
        runs: Prefect's server.
        ledger: Who follows what.
        membership: Which call is in which batch.
        make_request: Makes the request of a call that another worker had received.
    """

    def __init__(
        self,
        app: Any,
        runs: BatchRuns,
        ledger: Ledger,
        membership: Membership,
        make_request: Callable[[Call], FlowRequest],
    ) -> None:
        self._app = app
        self._runs = runs
        self._ledger = ledger
        self._membership = membership
        self._make_request = make_request
        self.creation = BatchCreation(runs, ledger, membership)
        self._followed: dict[str, FollowedBatch] = {}
        self._next_inventory = time.monotonic() + INVENTORY_SECONDS

    def __len__(self) -> int:
        return len(self._followed)

    def __contains__(self, key: str) -> bool:
        return key in self._followed

    def snapshot(self) -> list[FollowedBatch]:
        """Give the batches that are followed now."""
        return list(self._followed.values())

    def is_under_way(self, task_name: str) -> bool:
        """Tell whether a batch of a task is followed that is not only waiting for its time."""
        return any(batch.task.name == task_name and batch.is_under_way for batch in self.snapshot())

    def follow(self, batch: FollowedBatch) -> None:
        """Follow a batch from now on."""
        self._followed[batch.key] = batch

    def forget(self, key: str) -> None:
        """Follow a batch no longer, because another worker does."""
        self._followed.pop(key, None)

    def look(self) -> None:
        """Find out what has become of the batches and report it."""
        batches = self.snapshot()
        if not batches:
            return
        for batch in batches:
            if not batch.runs_now:
                self._call_off(batch)
        changed = self._changed_runs([batch for batch in batches if not batch.runs_now], ["RUNNING", *FINAL])
        changed |= self._changed_runs([batch for batch in batches if batch.runs_now], FINAL)
        running = [batch for batch in batches if batch.runs_now or batch.run_id in changed]
        outcomes = self._runs.batch_outcomes([batch.run_id for batch in running])
        for batch in running:
            run = changed.get(batch.run_id)
            if not self._ledger.claim(batch.key, batch.run_id):
                # Another worker has taken it over while this one was held up.
                self.forget(batch.key)
                continue
            if run is not None and run["state_type"] == "RUNNING":
                batch.runs_now = True
            self._take(batch, outcomes.get(batch.run_id, []))
            if run is not None and run["state_type"] == "RUNNING":
                answers.started(batch.open.values(), batch.run_id, self._runs.url(batch.run_id))
            elif run is not None:
                self._end(batch, run)
        self._look_for_silent([batch for batch in self.snapshot() if batch.runs_now])
        if time.monotonic() >= self._next_inventory:
            self._next_inventory = time.monotonic() + INVENTORY_SECONDS
            self._look_for_lost(self.snapshot())

    def adopt(self, key: str, run_id: str) -> None:
        """Take over the batch of a worker that is gone.

        Args:
            key: The batch's key in the ledger.
            run_id: Its run, empty when that worker did not get so far as to note it.
        """
        batch_id = key.removeprefix(PREFIX)
        run = self._runs.find_batch(batch_id, run_id)
        reference = None if run is None else Reference.from_context(run["context"])
        if not self._ledger.claim(key, "" if run is None else run["id"]):
            return
        if run is None or reference is None or reference.task_name not in self._app.tasks:
            # Its messages were not acknowledged: the broker delivers them again.
            self._ledger.finish(key)
            return
        batch = FollowedBatch(batch_id, self._app.tasks[reference.task_name], run["id"])
        calls = self._runs.read_calls(reference)
        batch.members = [call.key for call in calls]
        known = answers.read_states(batch.task.backend, [call.id for call in calls])
        for call in calls:
            if known[call.id] not in states.READY_STATES:
                batch.open[call.key] = self._make_request(call)
                task_reserved(batch.open[call.key])
        self.follow(batch)
        logger.info("A batch of %d calls of %s is taken over: %s", len(calls), reference.task_name, run["id"])

    def _changed_runs(self, batches: list[FollowedBatch], types: list[str] | None) -> dict[str, dict[str, Any]]:
        ids = [batch.run_id for batch in batches]
        pages = [ids[start : start + PAGE] for start in range(0, len(ids), PAGE)]
        return {run["id"]: run for page in pages for run in self._runs.read(page, types=types)}

    def _take(self, batch: FollowedBatch, artifacts: Iterable[tuple[str, str]]) -> None:
        """Report the outcomes that a run has left since the last look."""
        for artifact_id, outcomes in artifacts:
            if artifact_id in batch.seen:
                continue
            again: dict[int, list[CallOutcome]] = defaultdict(list)
            succeeded = []
            for each in decode_outcomes(outcomes):
                request = batch.open.get(each.key)
                if request is None:
                    continue
                if each.due is not None:
                    report.retrying(request, each.outcome, "the call is run again in another batch")
                    again[each.due].append(each)
                elif each.outcome.state == states.SUCCESS:
                    succeeded.append((request, each.outcome))
                else:
                    _report_end(request, each)
                    _close(batch, each.key)
            answers.succeeded(succeeded)
            for request, _ in succeeded:
                _close(batch, request.call.key)
            for due, retried in again.items():
                self._run_again(batch, f"{artifact_id}:{due}", [each.key for each in retried], due)
            batch.seen.add(artifact_id)

    def _run_again(self, batch: FollowedBatch, batch_id: str, keys: list[str], due: int) -> None:
        requests = {}
        for key in keys:
            call = batch.open[key].call
            headers = {**call.headers, "retries": int(call.headers.get("retries") or 0) + 1}
            requests[key] = self._make_request(Call(headers=headers, body=call.body))
        self.follow(self.creation.create_again(batch, batch_id, requests, due))
        for key in keys:
            _close(batch, key)

    def _end(self, batch: FollowedBatch, run: dict[str, Any]) -> None:
        """Deal with the calls that have no outcome although their run has ended."""
        if batch.open and run["state_type"] == "CRASHED" and batch.task.acks_late and batch.task.reject_on_worker_lost:
            self._runs.run_again(batch.run_id, 0, "The process was lost; the calls that have no answer are run again.")
            batch.runs_now, batch.silent_since = False, None
            return
        for request in batch.open.values():
            if run["state_type"] == "CANCELLED":
                report.revoked(request, "terminated", terminated=True)
            elif run["state_type"] == "CRASHED":
                report.failed(request, report.worker_lost(run), killed=True)
            else:
                told = f"flow run {run['id']} is {run['state_name']}: {run['state']['message']}"
                report.failed(request, RunFailed(told))
        self._finish(batch)

    def _finish(self, batch: FollowedBatch) -> None:
        for key in list(batch.open):
            _close(batch, key)
        self._membership.leave(batch.key, batch.members)
        self._ledger.finish(batch.key)
        self.forget(batch.key)

    def _call_off(self, batch: FollowedBatch) -> None:
        """Report calls that nobody wants any more as revoked; the run leaves out what has its answer when it begins."""
        now = datetime.now(UTC)
        for key, request in list(batch.open.items()):
            expired = request.expires is not None and request.expires < now
            if expired or request.terminated or request.id in revoked_ids:
                report.revoked(
                    request, "expired" if expired else "revoked", terminated=request.terminated, expired=expired
                )
                _close(batch, key)

    def _look_for_silent(self, batches: list[FollowedBatch]) -> None:
        """Find runs whose process is gone although nobody has said so to Prefect, as when its worker went with it."""
        silent = self._membership.find_silent([batch.run_id for batch in batches])
        now = time.monotonic()
        for batch in batches:
            if batch.run_id not in silent:
                batch.silent_since = None
            elif batch.silent_since is None:
                batch.silent_since = now
            elif now - batch.silent_since > SILENT_SECONDS:
                logger.warning("Flow run %s has lost its process", batch.run_id)
                self._runs.crash(batch.run_id, "Its process gave no sign of life.")
                batch.silent_since = None

    def _look_for_lost(self, batches: list[FollowedBatch]) -> None:
        """Find runs that were deleted, and runs that a worker took and did not begin."""
        found = self._changed_runs(batches, None)
        for batch in batches:
            run = found.get(batch.run_id)
            if run is None:
                for request in batch.open.values():
                    report.failed(request, RunFailed(f"flow run {batch.run_id} was deleted in Prefect"))
                self._finish(batch)
            elif run["state_type"] == "PENDING":
                since = datetime.fromisoformat(run["state"]["timestamp"])
                if (datetime.now(UTC) - since).total_seconds() > PENDING_SECONDS:
                    self._runs.run_again(batch.run_id, 0, "A worker took the run and did not begin it.")


def _close(batch: FollowedBatch, key: str) -> None:
    """Strike a call that has its answer; where no ledger is shared its message has been kept until now."""
    batch.open.pop(key).acknowledge()


def _report_end(request: FlowRequest, ended: CallOutcome) -> None:
    outcome = ended.outcome
    if outcome.state == states.IGNORED:
        report.ignored(request)
    elif outcome.error is not None:
        report.failed(request, outcome.error, outcome.traceback)
