"""What the worker asks of the fork server, and how it travels.

An order is a file without a name (`memfd_create`), handed over with the reading end of a pipe, the gate: the child
waits at it until the worker has noted its process id. A child whose worker died meanwhile finds the gate closed and
ends before it has done anything.
"""

import json
import os
import socket
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

# Large enough for any message that the server sends; orders themselves are files.
MESSAGE_BYTES = 1_000_000
GO = b"+"


@dataclass(frozen=True, slots=True)
class Order:
    """What a forked child is to do.

    Attributes:
        work: `run` or `hook`.
        arguments: What that work needs.
        environment: The child's whole environment.
        directory: Its working directory at first.
        shows_output: Whether what it writes appears among the worker's output.
        memory_limit: Bytes of memory of its own that it may take; None for no limit.
        flows: Entry points that the fork server is to import before the fork: see `workers.entrypoints`.
    """

    work: str
    arguments: Mapping[str, Any]
    environment: Mapping[str, str]
    directory: str
    shows_output: bool = True
    memory_limit: int | None = None
    flows: Sequence[str] = ()


def write_order(order: Order) -> int:
    """Write an order.

    Args:
        order: The order.

    Returns:
        The open file, to be closed by the caller.
    """
    descriptor = os.memfd_create("order")
    with os.fdopen(os.dup(descriptor), "w") as file:
        json.dump(asdict(order), file)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def read_order(descriptor: int) -> Order:
    """Read an order and close its file.

    Args:
        descriptor: The open file.

    Returns:
        The order.
    """
    with os.fdopen(descriptor) as file:
        return Order(**json.load(file))


def make_channel() -> tuple[socket.socket, socket.socket]:
    """Make the connection between worker and fork server: the worker's end, and the server's, which it may inherit."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    for end in (ours, theirs):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
    return ours, theirs
