"""Holds calls until those that arrive together are together.

A batch that is cut early while another one of its task is under way gains nothing: each run costs the same, however few
its calls, and takes from the ones before it. Then more is gathered, for a little longer.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from shim.batches.contract import LONGEST_WAIT
from shim.intake import FlowRequest

# The first call of a batch is held at most this many times as long as the batch waits for another one ...
LONGEST_IN_WAITS = 4
# ... and this many times while an earlier batch of the task is under way.
LONGEST_BEHIND_IN_WAITS = 15
# A worker that also creates and follows runs takes up messages with pauses: a pause of a busy one is not yet an end.
PATIENCE_BEHIND = 2
# Calls with long arguments: together they travel in one request to Prefect's server.
MOST_BYTES = 1_000_000


@dataclass
class _Held:
    """The calls of one task that are held."""

    task: Any
    requests: list[FlowRequest] = field(default_factory=list)
    size: int = 0
    first: float = 0.0
    last: float = 0.0

    def is_complete(self) -> bool:
        """Whether no more calls fit in."""
        return len(self.requests) >= self.task.batch.size or self.size >= MOST_BYTES

    def due(self, *, is_behind: bool) -> float:
        """When the batch is to be given out, on the monotonic clock.

        Args:
            is_behind: Whether an earlier batch of the task is under way.
        """
        if self.is_complete():
            return 0.0
        wait = self.task.batch.wait
        if is_behind:
            patience = min(PATIENCE_BEHIND * wait, LONGEST_WAIT)
            return float(min(self.last + patience, self.first + LONGEST_BEHIND_IN_WAITS * wait))
        return float(min(self.last + wait, self.first + LONGEST_IN_WAITS * wait))


class Collector:
    """Collects the calls of each task and gives them out in batches.

    Args:
        is_under_way: Whether a batch of a task, named by the task's name, is under way; asked again and again.
    """

    def __init__(self, is_under_way: Callable[[str], bool] = lambda _name: False) -> None:
        self._is_under_way = is_under_way
        self._held: dict[str, _Held] = {}
        self._changed = threading.Condition()
        self._closed = False

    def add(self, request: FlowRequest) -> None:
        """Hold a call; returns at once."""
        now = time.monotonic()
        with self._changed:
            held = self._held.setdefault(request.name, _Held(request.task))
            if not held.requests:
                held.first = now
            held.requests.append(request)
            held.size += len(request.body)
            held.last = now
            # Whoever waits for this batch looks again when it would be due; only a complete one is due earlier.
            if len(held.requests) == 1 or held.is_complete():
                self._changed.notify()

    def take(self) -> list[FlowRequest]:
        """Wait for a complete batch and give its calls, all of one task; none when the collector was closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                due = {name: held.due(is_behind=self._is_under_way(name)) for name, held in self._held.items()}
                first = min(due, key=due.__getitem__, default=None)
                if first is not None and due[first] <= now:
                    return self._cut(self._held[first])
                self._changed.wait(None if first is None else self._pause(due[first] - now))
        return []

    def close(self) -> None:
        """Give out no more; what is held stays with the broker."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _pause(self, until_due: float) -> float:
        """Give the seconds until it is worth looking again: nobody tells when the batches under way have ended."""
        return float(min(until_due, *(held.task.batch.wait for held in self._held.values())))

    def _cut(self, held: _Held) -> list[FlowRequest]:
        most = held.task.batch.size
        taken, left = held.requests[:most], held.requests[most:]
        if left:
            held.requests, held.size, held.first = left, sum(len(request.body) for request in left), held.last
        else:
            del self._held[held.task.name]
        return taken
