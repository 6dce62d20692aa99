"""Follows the flow runs of all calls of a worker: a few requests for all of them, never one for each."""

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx
from celery import states
from celery.worker.state import revoked as revoked_ids
from celery.worker.state import task_reserved
from kombu.exceptions import OperationalError
from kombu.message import Message
from redis.exceptions import RedisError

from shim import report
from shim.batches.creation import PREFIX, FollowedBatch
from shim.batches.following import BatchFollower
from shim.batches.membership import open_membership
from shim.batches.runs import BatchRuns
from shim.call import Call
from shim.errors import RunFailed
from shim.intake import FlowRequest
from shim.ledger import LEASE_SECONDS, Ledger
from shim.outcome import Outcome
from shim.repetition import begins_again
from shim.runs import FINAL, PAGE

logger = logging.getLogger(__name__)

# A server that is away or cannot answer now; everything waits and is tried again.
OUTAGES = (httpx.TransportError, httpx.HTTPStatusError, RedisError, OperationalError, OSError)
REQUESTS_PER_SECOND = 3.0
SHORTEST_PAUSE = 0.3
OUTAGE_PAUSE = 1.0
RENEW_SECONDS = LEASE_SECONDS / 4
ADOPT_SECONDS = LEASE_SECONDS / 2
INVENTORY_SECONDS = 60.0


@dataclass
class Followed:
    """A call whose run is followed.

    Attributes:
        key: What makes the call unique (see `Call.key`).
        request: The call's request.
        run_id: Its flow run.
        runs_now: Whether the body was seen running, and no retry since.
        adopted: Whether another worker followed it before.
    """

    key: str
    request: FlowRequest
    run_id: str
    runs_now: bool = False
    adopted: bool = False


class Follower:
    """Follows runs until they end and reports what happens to Celery's result backend.

    Args:
        app: The Celery application.
        runs: Prefect's server.
        ledger: Who follows what.
        hostname: The worker's node name.

    Attributes:
        idle: Set while nothing is followed.
        batches: Follows the runs of batches.
    """

    def __init__(self, app: Any, runs: BatchRuns, ledger: Ledger, hostname: str) -> None:
        self.app = app
        self.runs = runs
        self.ledger = ledger
        self.hostname = hostname
        self.idle = threading.Event()
        self.idle.set()
        self._followed: dict[str, Followed] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._due: dict[str, float] = {}
        self.batches = BatchFollower(app, runs, ledger, open_membership(ledger), self._request)

    @property
    def count(self) -> int:
        """How many runs are followed."""
        return len(self._followed) + len(self.batches)

    def follow(self, call: Followed) -> bool:
        """Follow a call from now on.

        Args:
            call: The call and its run.

        Returns:
            False when this or another living worker follows the call already.
        """
        with self._lock:
            if call.key in self._followed or not self.ledger.claim(call.key, call.run_id):
                return False
            self._followed[call.key] = call
            self.idle.clear()
        return True

    def follow_batch(self, batch: FollowedBatch) -> None:
        """Follow the run of a batch from now on."""
        with self._lock:
            self.batches.follow(batch)
            self.idle.clear()

    def stop(self) -> None:
        """Leave all calls to whoever claims them next."""
        self._stopped.set()

    def run(self) -> None:
        """Follow until `stop` is called; the body of a thread."""
        outage = ""
        while not self._stopped.is_set():
            before = self.runs.requests
            try:
                self._look_after_all()
                outage = ""
                pause = max(SHORTEST_PAUSE, (self.runs.requests - before) / REQUESTS_PER_SECOND)
            except OUTAGES as error:
                if outage != type(error).__name__:
                    logger.warning("Flow runs are not followed for now: %s: %s", type(error).__name__, error)
                outage, pause = type(error).__name__, OUTAGE_PAUSE
            except Exception:
                # This thread follows every call of the worker: it must outlive a defect that concerns one of them.
                logger.exception("Following flow runs failed; it goes on")
                pause = OUTAGE_PAUSE
            self._stopped.wait(pause)
        with suppress(*OUTAGES):
            for key in [*self._followed, *(batch.key for batch in self.batches.snapshot())]:
                self.ledger.release(key)

    def _look_after_all(self) -> None:
        if self._is_due("renew", RENEW_SECONDS):
            self._renew()
        if self._is_due("adopt", ADOPT_SECONDS):
            self._adopt()
        calls = self.snapshot()
        self._call_off(calls)
        running = [call for call in calls if call.runs_now]
        waiting = [call for call in calls if not call.runs_now]
        self._look(waiting, ["RUNNING", *FINAL])
        self._look(running, ["SCHEDULED", *FINAL])
        self.batches.look()
        self._note_idleness()
        if self._is_due("inventory", INVENTORY_SECONDS):
            self._look_for_deleted(calls)

    def _is_due(self, what: str, seconds: float) -> bool:
        now = time.monotonic()
        if now < self._due.setdefault(what, now if what == "adopt" else now + seconds):
            return False
        self._due[what] = now + seconds
        return True

    def snapshot(self) -> list[Followed]:
        """Give the calls that are followed now."""
        with self._lock:
            return list(self._followed.values())

    def _forget(self, call: Followed) -> None:
        with self._lock:
            self._followed.pop(call.key, None)
        self._note_idleness()

    def _note_idleness(self) -> None:
        with self._lock:
            if self.count == 0:
                self.idle.set()

    def _finish(self, call: Followed) -> None:
        call.request.acknowledge()
        self.ledger.finish(call.key)
        self._forget(call)

    def _renew(self) -> None:
        calls = self.snapshot()
        kept = {call.key: call.run_id for call in calls}
        kept |= {batch.key: batch.run_id for batch in self.batches.snapshot()}
        for key in self.ledger.renew(kept):
            # Another worker has taken it over while this one was held up.
            if key in self._followed:
                self._forget(self._followed[key])
            self.batches.forget(key)

    def _adopt(self) -> None:
        """Take over the calls of workers that are gone."""
        left = {key: run_id for key, run_id in self.ledger.abandoned().items() if key not in self._followed}
        for key in [key for key in left if key.startswith(PREFIX)]:
            run_id = left.pop(key)
            if key not in self.batches:
                self.batches.adopt(key, run_id)
                self.idle.clear()
        for keys in _pages(list(left)):
            found = {run["id"]: run for run in self.runs.read([left[key] for key in keys])}
            for key in keys:
                run = found.get(left[key])
                if run is None:
                    if self.ledger.claim(key, left[key]):
                        logger.error("Flow run %s of call %s no longer exists", left[key], key)
                        self.ledger.finish(key)
                    continue
                call = Call.from_context(run["context"], self.runs.read_artifact)
                if call is not None and call.task_name in self.app.tasks:
                    followed = Followed(key, self._request(call), run["id"], adopted=True)
                    if self.follow(followed):
                        task_reserved(followed.request)
                        logger.info("Task %s[%s] is taken over", call.task_name, call.id)

    def _request(self, call: Call) -> FlowRequest:
        message = Message(
            body=call.body,
            content_type="application/json",
            content_encoding="utf-8",
            headers=call.headers,
            properties=call.headers.get("properties") or {},
            delivery_info=call.headers.get("delivery_info") or {},
            accept={"application/json"},
        )
        task = self.app.tasks[call.task_name]
        request = FlowRequest(message, app=self.app, hostname=self.hostname, task=task, utc=True)
        request.acknowledged = True
        request.call = call
        return request

    def _call_off(self, calls: list[Followed]) -> None:
        now = datetime.now(UTC)
        for call in calls:
            request = call.request
            expired = not call.runs_now and request.expires is not None and request.expires < now
            unwanted = not call.runs_now and request.id in revoked_ids
            if (request.terminated or expired or unwanted) and self.runs.cancel(call.run_id):
                reason = "terminated" if request.terminated else "expired" if expired else "revoked"
                report.revoked(request, reason, terminated=request.terminated, expired=expired)
                self._finish(call)

    def _look(self, calls: list[Followed], types: list[str]) -> None:
        for page in _pages(calls):
            by_run = {call.run_id: call for call in page}
            changed = {run["id"]: run for run in self.runs.read(by_run, types=types)}
            ended = [
                run_id for run_id, run in changed.items() if run["state_type"] in {"COMPLETED", "FAILED", "SCHEDULED"}
            ]
            outcomes = self.runs.outcomes(ended) if ended else {}
            for run_id, run in changed.items():
                self._react_or_give_up(by_run[run_id], run, outcomes.get(run_id))

    def _look_for_deleted(self, calls: list[Followed]) -> None:
        for page in _pages(calls):
            found = {run["id"] for run in self.runs.read([call.run_id for call in page])}
            for call in page:
                if call.run_id not in found and call.key in self._followed:
                    report.failed(call.request, RunFailed(f"flow run {call.run_id} was deleted in Prefect"))
                    self._finish(call)

    def _react_or_give_up(self, call: Followed, run: dict[str, Any], outcome: Outcome | None) -> None:
        try:
            self._react(call, run, outcome)
        except OUTAGES:
            raise
        except Exception as error:
            # One call whose end cannot be reported must not keep all others from theirs.
            logger.exception("Task %s[%s]: its run cannot be reported", call.request.name, call.request.id)
            self._finish(call)
            state = f"flow run {call.run_id} is {run['state_name']}, which could not be reported: {error!r}"
            call.request.task.backend.store_result(call.request.id, RunFailed(state), states.FAILURE)

    def _react(self, call: Followed, run: dict[str, Any], outcome: Outcome | None) -> None:
        if run["state_type"] == "RUNNING":
            call.runs_now = True
            report.started(call.request, call.run_id, self.runs.url(call.run_id))
        elif run["state_type"] == "SCHEDULED":
            call.runs_now = False
            report.retrying(call.request, outcome, f"flow run is {run['state_name']}")
        elif begins_again(self.runs, call.request, run, outcome):
            call.runs_now = False
        elif not self.ledger.claim(call.key, call.run_id):
            self._forget(call)
        else:
            answered = call.adopted and call.request.task.backend.get_state(call.request.id) in states.READY_STATES
            if not answered:
                report.ended(call.request, run, outcome)
            self._finish(call)


def _pages(items: list[Any]) -> Iterator[list[Any]]:
    for start in range(0, len(items), PAGE):
        yield items[start : start + PAGE]
