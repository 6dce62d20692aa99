"""When the worker polls: when it is woken, but at most twice a second, and less often when the server is busy."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

# Each poll writes into the server's database, and SQLite has one writer: so many polls in so many seconds.
POLLS, SECONDS = 2, 1.0
# A server that takes long to answer has much to do: polls take a third of the time at most, but are never further apart
# than so many seconds.
REST, LONGEST_REST = 3, 1.0


class Pace:
    """Collects wakes, and spaces the polls that follow them."""

    def __init__(self) -> None:
        self._due = asyncio.Event()
        self._polls: deque[float] = deque([-SECONDS] * POLLS, maxlen=POLLS)
        self._rests_until = 0.0

    def wake(self) -> None:
        """Ask for a poll."""
        self._due.set()

    @contextmanager
    def note_poll(self) -> Iterator[None]:
        """Note a poll, which lasts as long as the block."""
        began = time.monotonic()
        self._polls.append(began)
        try:
            yield
        finally:
            self._rests_until = began + min(REST * (time.monotonic() - began), LONGEST_REST)

    async def wait(self) -> None:
        """Wait until a poll is asked for and allowed; later wakes ask for another one."""
        await self._due.wait()
        await asyncio.sleep(max(self._polls[0] + SECONDS, self._rests_until) - time.monotonic())
        self._due.clear()
