"""What the worker asks of the server for each run, and what is the same for runs that begin about the same time."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from prefect.client.orchestration import PrefectClient
from pydantic import BaseModel

K = TypeVar("K")
T = TypeVar("T", bound=BaseModel)

# A change of a deployment counts for runs that begin so many seconds later.
VALID_SECONDS = 2.0


class RecentReads(Generic[K, T]):
    """A read whose answers are shared for a while; each caller gets a copy of its own.

    Args:
        read: Asks the server for an object by its id, or whatever tells it from others.
        seconds: How long an answer is shared.
    """

    def __init__(self, read: Callable[[K], Awaitable[T]], seconds: float = VALID_SECONDS) -> None:
        self._read = read
        self._seconds = seconds
        self._answers: dict[K, tuple[float, asyncio.Task[T]]] = {}

    async def __call__(self, key: K) -> T:
        """Give an object.

        Args:
            key: Its id.

        Raises:
            Exception: Whatever the read raises; a failure is not shared with later callers.
        """
        now = time.monotonic()
        self._answers = {
            known: (asked, answer)
            for known, (asked, answer) in self._answers.items()
            if now - asked < self._seconds and not _has_failed(answer)
        }
        if key not in self._answers:
            self._answers[key] = (now, asyncio.create_task(self._ask(key)))
        # Whoever stops waiting must not take the answer from the others.
        return (await asyncio.shield(self._answers[key][1])).model_copy(deep=True)

    async def _ask(self, key: K) -> T:
        return await self._read(key)


def share_recent_reads(client: PrefectClient) -> None:
    """Have a client share recent answers about deployments and flows.

    Args:
        client: The client.
    """
    client.read_deployment = RecentReads(client.read_deployment)  # type: ignore[method-assign,assignment]
    client.read_flow = RecentReads(client.read_flow)  # type: ignore[method-assign,assignment]


def _has_failed(answer: asyncio.Task[T]) -> bool:
    return answer.done() and (answer.cancelled() or answer.exception() is not None)
