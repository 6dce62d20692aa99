"""Soft time limits: `SoftTimeLimitExceeded` is raised inside a body that takes too long, where it can be caught."""

import asyncio
import signal
import threading
from collections.abc import Awaitable, Callable, Coroutine, Generator
from types import FrameType
from typing import Any, TypeVar

from celery.exceptions import SoftTimeLimitExceeded

Value = TypeVar("Value")


class _Interruptible(Awaitable[Value]):
    """Awaits a coroutine in the current asyncio task, and can raise an exception where the coroutine waits.

    `Task.cancel` can only raise CancelledError. So the task is cancelled, which ends whatever it waits for, and the
    CancelledError is replaced on its way into the coroutine.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Value]) -> None:
        self._coroutine = coroutine
        self._error: BaseException | None = None
        self._task: asyncio.Task[Any] | None = None

    def interrupt(self, error: BaseException) -> None:
        """Have `error` raised where the coroutine waits now."""
        if self._task is not None and not self._task.done():
            self._error = error
            self._task.cancel()

    def __await__(self) -> Generator[Any, Any, Value]:
        self._task = asyncio.current_task()
        resume = self._coroutine.send
        argument: Any = None
        while True:
            try:
                waited_for = resume(argument)
            except StopIteration as finished:
                self._task = None
                return finished.value  # type: ignore[no-any-return]
            resume, argument = self._coroutine.send, None
            try:
                argument = yield waited_for
            except BaseException as error:  # noqa: BLE001 - everything goes into the coroutine, as `yield from` would do
                resume, argument = self._coroutine.throw, self._replace(error)

    def _replace(self, error: BaseException) -> BaseException:
        replacement, self._error = self._error, None
        if replacement is None or not isinstance(error, asyncio.CancelledError):
            return error
        if self._task is not None:
            self._task.uncancel()
        return replacement


async def run_limited(coroutine: Coroutine[Any, Any, Value], soft_limit: float | None) -> Value:
    """Await a body and raise `SoftTimeLimitExceeded` inside it when it takes too long.

    Args:
        coroutine: The body.
        soft_limit: Seconds, or None for no limit.

    Returns:
        What the body returns.

    Raises:
        SoftTimeLimitExceeded: The limit passed and the body did not catch it.
    """
    if not soft_limit:
        return await coroutine
    body = _Interruptible(coroutine)
    timer = asyncio.get_running_loop().call_later(soft_limit, body.interrupt, SoftTimeLimitExceeded(soft_limit))
    try:
        return await body
    finally:
        timer.cancel()


def call_limited(body: Callable[[], Value], soft_limit: float | None) -> Value:
    """Call a synchronous body and raise `SoftTimeLimitExceeded` inside it when it takes too long.

    The exception comes from a timer signal, so it also ends a blocking call such as `time.sleep`. Signals reach the
    main thread only: in another thread the limit is not enforced here, and the hard limit still is.

    Args:
        body: The body with its arguments bound.
        soft_limit: Seconds, or None for no limit.

    Returns:
        What the body returns.

    Raises:
        SoftTimeLimitExceeded: The limit passed and the body did not catch it.
    """
    if not soft_limit or threading.current_thread() is not threading.main_thread():
        return body()
    armed = True

    def raise_in_body(_signal: int, _frame: FrameType | None) -> None:
        if armed:
            raise SoftTimeLimitExceeded(soft_limit)

    previous = signal.signal(signal.SIGALRM, raise_in_body)
    signal.setitimer(signal.ITIMER_REAL, soft_limit)
    try:
        return body()
    finally:
        armed = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
