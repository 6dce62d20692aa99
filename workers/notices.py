"""Hears from the Prefect server, over its event stream, that runs of a work pool want something of the worker."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import StateType
from prefect.events import Event
from prefect.events.clients import get_events_subscriber
from prefect.events.filters import EventAnyResourceFilter, EventFilter, EventNameFilter
from prefect.logging import get_logger

from workers.executions import Executions

PREFIX = "prefect.flow-run."
SCHEDULED = frozenset({"Scheduled", "AwaitingRetry", "Late", "Resuming", "AwaitingConcurrencySlot"})
TAKEN = frozenset({"Pending", "Submitting", "Running", "Retrying"})
ENDED = frozenset({"Completed", "Cached", "Failed", "TimedOut", "Crashed", "Cancelled"})
CANCELLING = "Cancelling"
RECONNECT_SECONDS = (0.5, 10.0)
# Runs that were told of and not seen to start are remembered up to this number; the poll finds the others.
MOST_WAITING = 10_000

# How often runs that are to be cancelled are asked for, should the event stream have missed one.
CANCELLATION_POLL_SECONDS = 10.0

logger = get_logger("hr.worker")


class Notices:
    """Listens until it is cancelled, through outages.

    Args:
        work_pool_id: The work pool.
        on_due: Called when a run may be waiting: one was scheduled, or one ended while others waited for its place.
        on_cancelling: Called with a run that is to be cancelled.
    """

    def __init__(self, work_pool_id: UUID, on_due: Callable[[], None], on_cancelling: Callable[[UUID], None]) -> None:
        self._resource = f"prefect.work-pool.{work_pool_id}"
        self._on_due = on_due
        self._on_cancelling = on_cancelling
        self._waiting: dict[UUID, None] = {}
        self.is_connected = asyncio.Event()

    @property
    def has_waiting(self) -> bool:
        """Whether runs were told of that have not been seen to start."""
        return bool(self._waiting)

    async def listen(self) -> None:
        """Listen for ever."""
        pause, longest = RECONNECT_SECONDS
        while True:
            try:
                names = [PREFIX + name for name in sorted(SCHEDULED | TAKEN | ENDED | {CANCELLING})]
                wanted = EventFilter(
                    event=EventNameFilter(name=names), any_resource=EventAnyResourceFilter(id=[self._resource])
                )
                async with get_events_subscriber(filter=wanted, reconnection_attempts=0) as events:
                    self.is_connected.set()
                    pause = RECONNECT_SECONDS[0]
                    # What came before is not told again.
                    self._on_due()
                    async for event in events:
                        self._take(event)
            except Exception as error:  # noqa: BLE001 - the client raises a bare Exception when it is refused
                # Once for each outage, also when the server never let it in.
                if pause == RECONNECT_SECONDS[0]:
                    logger.warning("No event stream; runs are found by polling until there is one: %s", error)
            self.is_connected.clear()
            await asyncio.sleep(pause)
            pause = min(2 * pause, longest)

    def _take(self, event: Event) -> None:
        state = event.event.removeprefix(PREFIX)
        flow_run_id = UUID(event.resource.id.removeprefix(PREFIX))
        if state in SCHEDULED:
            if len(self._waiting) < MOST_WAITING:
                self._waiting[flow_run_id] = None
            self._on_due()
        elif state == CANCELLING:
            self._on_cancelling(flow_run_id)
        else:
            self._waiting.pop(flow_run_id, None)
            if state in ENDED and self._waiting:
                self._on_due()


async def look_for_cancelling(
    client: PrefectClient, executions: Executions, on_cancelling: Callable[[UUID], None]
) -> None:
    """Find runs that are to be cancelled although the event stream did not say so, for ever.

    Args:
        client: A client of the Prefect server.
        executions: The worker's runs.
        on_cancelling: Called with a run that is to be cancelled.
    """
    while True:
        await asyncio.sleep(CANCELLATION_POLL_SECONDS)
        if not (running := [execution.flow_run.id for execution in executions.running]):
            continue
        wanted = FlowRunFilter(
            id=FlowRunFilterId(any_=running),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.CANCELLING])),
        )
        # An outage of the server; what was missed is found by the next look.
        with suppress(httpx.HTTPError):
            for flow_run in await client.read_flow_runs(flow_run_filter=wanted):
                on_cancelling(flow_run.id)
