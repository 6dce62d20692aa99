"""The work pool's queues: `priority` of a row orders the runs that wait for a worker."""

import re
from collections.abc import Iterable

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import WorkQueue

DEFAULT_QUEUE = "default"
# The sync's own runs go before all others: they skip what is late and close what is lost.
SCHEDULES_QUEUE = "schedules"
_NAME = re.compile(r"priority(?P<priority>[+-]\d+)", re.ASCII)


def queue_of_priority(priority: int) -> str:
    """Give the name of the queue for a priority; a higher one goes first, 0 is the pool's default queue."""
    return f"priority{priority:+d}" if priority else DEFAULT_QUEUE


def order_of(names: Iterable[str]) -> list[str]:
    """Put queues in the order in which their runs are to start; other queues than the suite's come last."""

    def place(name: str) -> tuple[int, int]:
        if name == SCHEDULES_QUEUE:
            return (0, 0)
        match = _NAME.fullmatch(name)
        if match or name == DEFAULT_QUEUE:
            return (1, -int(match["priority"]) if match else 0)
        return (2, 0)

    return sorted(names, key=place)


async def ensure_queues(client: PrefectClient, work_pool: str, priorities: Iterable[int]) -> list[str]:
    """Create the queues that priorities need, and put all queues of the pool in order; one request when all is well.

    Args:
        client: A client of the Prefect server.
        work_pool: The work pool.
        priorities: Priorities that rows have.

    Returns:
        The queues that were created or moved.
    """
    queues = {queue.name: queue for queue in await client.read_work_queues(work_pool_name=work_pool)}
    wanted = {SCHEDULES_QUEUE, DEFAULT_QUEUE, *map(queue_of_priority, priorities)}
    order = order_of([*sorted(queues, key=lambda name: queues[name].priority), *sorted(wanted - queues.keys())])
    present = sorted(queues, key=lambda name: queues[name].priority)
    if order == present:
        return []
    changed = []
    for rank, name in enumerate(order, start=1):
        if await _put(client, work_pool, name, rank, queues.get(name)):
            changed.append(name)
    return changed


async def _put(client: PrefectClient, work_pool: str, name: str, rank: int, queue: WorkQueue | None) -> bool:
    if queue is None:
        await client.create_work_queue(name=name, work_pool_name=work_pool, priority=rank)
        return True
    # The server moves the others along: what a queue's place was before says nothing by now.
    await client.update_work_queue(queue.id, priority=rank)
    return queue.priority != rank
