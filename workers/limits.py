"""Limits of a run's process."""

import resource


def limit_memory(limit: int | None) -> None:
    """Refuse this process, and what it starts, more memory than a limit; Python then raises `MemoryError`.

    Counted is what the process may write to beyond what it has at this moment, not address space: libraries reserve
    plenty of that without using it.

    Args:
        limit: Bytes; None for no limit.
    """
    if limit is None:
        return
    limit += read_data_size()
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def read_data_size() -> int:
    """Give the bytes that count for `RLIMIT_DATA` now."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123 - pathlib reads no faster
        pages = int(file.read().split()[5])
    return pages * resource.getpagesize()
