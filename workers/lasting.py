"""What Prefect's engine starts beside each run, begun only for runs that last.

The engine tells the server every half minute that a run lives, and listens for its suspension. Each takes a websocket,
several requests and a client of its own, at the start of the run: for a run of a second that is half of what it costs.
The worker watches its runs by itself, by their processes and its leases.
"""

import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import copy_context
from typing import Any

from prefect import flow_engine

# Seconds after which a run is one that lasts; a suspension is noticed that much later at most.
LASTS_SECONDS = 5.0


def begin_watches_later() -> None:
    """Have the engine in this process begin its watches of a run only once the run lasts."""
    for name in ("_send_heartbeats", "observe_flow_run_suspension"):
        setattr(flow_engine, name, _for_lasting_runs(getattr(flow_engine, name)))


def _for_lasting_runs(watch: Any) -> Any:
    @contextmanager
    def watch_later(*arguments: Any, **options: Any) -> Iterator[None]:
        with enter_later(watch(*arguments, **options)):
            yield

    return watch_later


@contextmanager
def enter_later(manager: AbstractContextManager[Any], seconds: float = LASTS_SECONDS) -> Iterator[None]:
    """Enter a context manager in a thread if the block lasts; its end is not waited for.

    Args:
        manager: The context manager.
        seconds: How long the block lasts before.
    """
    is_over = threading.Event()

    def enter() -> None:
        if not is_over.wait(seconds):
            with manager:
                is_over.wait()

    threading.Thread(target=copy_context().run, args=(enter,), name="watch of the run", daemon=True).start()
    try:
        yield
    finally:
        is_over.set()
