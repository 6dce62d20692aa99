"""The calls of a batch in its run's process: each is ended on its own, and told of while the run goes on."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from math import ceil
from typing import TYPE_CHECKING, Any

from celery import Task
from celery.exceptions import Retry

from shim.attempt import Attempt
from shim.batches.membership import BEAT_SECONDS, open_membership
from shim.batches.records import OUTCOMES_ARTIFACT, CallOutcome, encode_outcomes
from shim.context import FlowContext
from shim.errors import ShimError
from shim.ledger import open_ledger
from shim.outcome import Outcome
from shim.retries import delay_seconds

if TYPE_CHECKING:
    from prefect.client.orchestration import PrefectClient
    from prefect.client.schemas.objects import FlowRun

logger = logging.getLogger(__name__)

FLUSH_SECONDS = 1.0


class BatchedCall:
    """One call of a batch, as the function that runs the batch has it.

    Attributes:
        id: The Celery task id.
        request: The call's request, as `self.request` of a task that runs alone.
        arguments: The call's arguments by name, checked and cast as annotated; empty if they cannot be.
        outcome: How it ended, once it has.
        due: When it runs again, in seconds since 1970, if it does.
    """

    def __init__(self, task: Task, request: FlowContext, key: str, on_end: Callable[["BatchedCall"], None]) -> None:
        self._task = task
        self._on_end = on_end
        self.id = str(request.id)
        self.key = key
        self.request = request
        self.arguments: dict[str, Any] = {}
        self.outcome: Outcome | None = None
        self.due: int | None = None

    def succeed(self, value: Any) -> None:
        """End the call with what its caller gets."""
        with Attempt(self._task, self.request) as attempt:
            self._end(attempt.succeed(value))

    def fail(self, error: Exception) -> None:
        """End the call with an error; the task's options say whether it is retried."""
        with Attempt(self._task, self.request) as attempt:
            try:
                _raise(error)
            except Exception as raised:  # noqa: BLE001 - the attempt decides what becomes of it, as Celery's tracer does
                outcome = attempt.fail(raised)
            if isinstance(outcome.value, Retry):
                self.due = ceil(time.time() + delay_seconds(outcome.value))
            self._end(outcome)

    def _end(self, outcome: Outcome) -> None:
        if self.outcome is not None:
            raise ShimError(f"call {self.id} was ended twice, as {self.outcome.state} and as {outcome.state}")
        self.outcome = outcome
        self._on_end(self)


class Outbox:
    """Tells the worker what became of calls, and that this process is alive.

    Args:
        client: Prefect's server.
        flow_run: The batch's run.
        task: The task.
    """

    def __init__(self, client: "PrefectClient", flow_run: "FlowRun", task: Task) -> None:
        self._client = client
        self._flow_run = flow_run
        self._membership = open_membership(open_ledger(task.app, str(flow_run.id)))
        self._ended: list[BatchedCall] = []

    def add(self, call: BatchedCall) -> None:
        """Have a call told of that has ended."""
        self._ended.append(call)

    async def flush(self) -> None:
        """Send what has not been sent."""
        from prefect.client.schemas.actions import ArtifactCreate

        ended, self._ended = self._ended, []
        if not ended:
            return
        outcomes = [CallOutcome(call.key, call.outcome, call.due) for call in ended if call.outcome is not None]
        artifact = ArtifactCreate(type=OUTCOMES_ARTIFACT, data=encode_outcomes(outcomes), flow_run_id=self._flow_run.id)
        try:
            await self._client.create_artifact(artifact)
        except BaseException:
            self._ended = [*ended, *self._ended]
            raise

    @asynccontextmanager
    async def opened(self) -> AsyncIterator[None]:
        """Send at intervals, and the rest at the end."""
        telling = asyncio.create_task(self._tell())
        try:
            yield
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)
            await self.flush()

    async def _tell(self) -> None:
        next_beat = 0.0
        while True:
            try:
                if time.monotonic() >= next_beat:
                    await asyncio.to_thread(self._membership.beat, str(self._flow_run.id))
                    next_beat = time.monotonic() + BEAT_SECONDS
                await self.flush()
            except Exception as error:  # noqa: BLE001 - whoever is away comes back; the last flush is not suppressed
                logger.warning("Nothing can be told of the calls for now: %s: %s", type(error).__name__, error)
            await asyncio.sleep(FLUSH_SECONDS)


def _raise(error: Exception) -> None:
    raise error
