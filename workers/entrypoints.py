"""Flows that the fork server does not know when it starts: those of deployments that `prefect.yaml` does not name.

The first run of such a flow imports it in its own process and finds out whether that could be done before the fork. The
worker then names it in its orders, and the fork server imports it once for all runs.
"""

import importlib
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def note_what_can_be_shared(entrypoint: str, note: Path) -> Iterator[None]:
    """Note an entry point if the block, which imports it, starts no thread and opens nothing: neither outlives a fork.

    Args:
        entrypoint: The entry point.
        note: The file that is written then.
    """
    before = _find_threads_and_files()
    yield
    if _find_threads_and_files() == before:
        note.write_text(entrypoint)


def load_entrypoint(entrypoint: str) -> None:
    """Import a flow, as Prefect does, and whatever is made of it when it is asked for the first time.

    Args:
        entrypoint: The entry point: `package.module.flow`, or `package.module:task.prefect_flow`.

    Raises:
        Exception: Whatever its module raises.
    """
    module, colon, path = entrypoint.partition(":")
    if not colon:
        module, _, path = entrypoint.rpartition(".")
    found = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)


def _find_threads_and_files() -> tuple[set[threading.Thread], set[str]]:
    descriptors = "/proc/self/fd"
    # The listing itself opens one, which has gone when it is looked at.
    files = {name for name in os.listdir(descriptors) if Path(descriptors, name).exists()}  # noqa: PTH208
    return set(threading.enumerate()), files
