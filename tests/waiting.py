"""Waiting for a condition, never for time to pass."""

import time
from collections.abc import Callable
from typing import Any

# Generous: a machine that runs the whole suite on two slow cores starts a run in half a minute.
LIMIT = 180.0
# Most of what is waited for comes at once; but Prefect's server on SQLite is slow for everybody when it is asked
# without a pause.
SHORTEST_PAUSE, LONGEST_PAUSE = 0.02, 0.25


def wait_until(condition: Callable[[], Any], what: str, limit: float = LIMIT) -> Any:
    """Wait for a condition and give what it gave; fail after the limit.

    Args:
        condition: Asked until it gives something true.
        what: What is waited for, as the failure says it.
        limit: Seconds.
    """
    deadline = time.monotonic() + limit
    pause = SHORTEST_PAUSE
    while not (value := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {limit:g} s: {what}")
        time.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
    return value
