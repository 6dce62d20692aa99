"""When the worker polls: when it is woken, but at most twice a second."""

import asyncio
import time
from collections import deque

# Each poll writes into the server's database, and SQLite has one writer: so many polls in so many seconds.
POLLS, SECONDS = 2, 1.0


class Pace:
    """Collects wakes, and spaces the polls that follow them."""

    def __init__(self) -> None:
        self._due = asyncio.Event()
        self._polls: deque[float] = deque([-SECONDS] * POLLS, maxlen=POLLS)

    def wake(self) -> None:
        """Ask for a poll."""
        self._due.set()

    def note_poll(self) -> None:
        """Note that a poll begins."""
        self._polls.append(time.monotonic())

    async def wait(self) -> None:
        """Wait until a poll is asked for and allowed; later wakes ask for another one."""
        await self._due.wait()
        await asyncio.sleep(self._polls[0] + SECONDS - time.monotonic())
        self._due.clear()
