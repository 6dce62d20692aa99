"""`python -m demo.prefect_server …`: `prefect server start …`, with less work, and without what goes wrong on SQLite.

Three things are different. Each JSON schema is checked once: see `demo.checked_schemas`. Writers to SQLite wait for
each other instead of failing: see `demo.one_writer`. And a thread of its own collects garbage, because a server on
SQLite stands still for a minute now and then: the garbage collector, run by the thread of the event loop, resets a
left cursor, for which it needs its connection; that connection's thread waits for SQLite's write lock; and who holds
that lock needs the event loop. SQLite gives up after its timeout, and requests have failed meanwhile. When a thread
of its own has to wait for a connection, nobody waits for it.
"""

import gc
import sys
import threading
import time
from itertools import count

COLLECT_SECONDS = 1.0
# Collections of the young, until one of the middle-aged, and of all.
MIDDLE_EVERY = 10
ALL_EVERY = 60


def main() -> None:
    """Start the server; the arguments are those of `prefect server start`."""
    gc.disable()
    threading.Thread(target=collect_garbage, name="garbage collection", daemon=True).start()
    # Imported here: it takes seconds and leaves garbage.
    from prefect.cli import app

    from demo.checked_schemas import check_schemas_once
    from demo.one_writer import let_writers_wait

    let_writers_wait()
    check_schemas_once()
    sys.argv = ["prefect", "server", "start", *sys.argv[1:]]
    app()


def collect_garbage() -> None:
    """Collect garbage for ever; the body of a thread."""
    for number in count(1):
        time.sleep(COLLECT_SECONDS)
        collect(2 if number % ALL_EVERY == 0 else 1 if number % MIDDLE_EVERY == 0 else 0)


def collect(generation: int = 2) -> None:
    """Collect garbage up to a generation, as the interpreter does by itself unless it is told not to."""
    gc.collect(generation)


if __name__ == "__main__":
    main()
