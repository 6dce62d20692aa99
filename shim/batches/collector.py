"""Holds calls until those that arrive together are together."""

import threading
import time
from dataclasses import dataclass, field
from typing import Any

from shim.intake import FlowRequest

# The first call of a batch is held at most this many times as long as the batch waits for another one.
LONGEST_IN_WAITS = 4
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

    def due(self) -> float:
        """When the batch is complete, on the monotonic clock."""
        batch = self.task.batch
        if len(self.requests) >= batch.size or self.size >= MOST_BYTES:
            return 0.0
        return float(min(self.last + batch.wait, self.first + LONGEST_IN_WAITS * batch.wait))


class Collector:
    """Collects the calls of each task and gives them out in batches."""

    def __init__(self) -> None:
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
            if len(held.requests) == 1 or held.due() <= now:
                self._changed.notify()

    def take(self) -> list[FlowRequest]:
        """Wait for a complete batch and give its calls, all of one task; none when the collector was closed."""
        with self._changed:
            while not self._closed:
                now = time.monotonic()
                due = min(self._held.values(), key=_Held.due, default=None)
                if due is not None and due.due() <= now:
                    return self._cut(due)
                self._changed.wait(None if due is None else due.due() - now)
        return []

    def close(self) -> None:
        """Give out no more; what is held stays with the broker."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _cut(self, held: _Held) -> list[FlowRequest]:
        most = held.task.batch.size
        taken, left = held.requests[:most], held.requests[most:]
        if left:
            held.requests, held.size, held.first = left, sum(len(request.body) for request in left), held.last
        else:
            del self._held[held.task.name]
        return taken
