"""A proxy in front of a server, which ends connections as a server does that is killed."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

BLOCK = 65_536


@dataclass
class Proxy:
    """What passes, and what does not.

    Attributes:
        port: Where it listens.
        wanted: Connections whose first block holds this are ended without an answer.
        times: How many of them still.
        ended: How many were.
    """

    port: int = 0
    wanted: bytes = b""
    times: int = 0
    ended: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def ends(self, block: bytes) -> bool:
        """Say whether a connection is to be ended, and count it."""
        with self._lock:
            if self.times == 0 or self.wanted not in block:
                return False
            self.times -= 1
            self.ended += 1
            return True


@contextmanager
def proxy_of(port: int, wanted: bytes, times: int) -> Iterator[Proxy]:
    """Run a proxy of a server on this machine.

    Args:
        port: The server's.
        wanted: Connections whose first block holds this are ended without an answer.
        times: So many of them; later ones pass.
    """
    proxy = Proxy(wanted=wanted, times=times)

    class Connection(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            block = self.request.recv(BLOCK)
            if not block or proxy.ends(block):
                return
            with closing(socket.create_connection(("127.0.0.1", port))) as server:
                server.sendall(block)
                back = threading.Thread(target=_pass_on, args=(server, self.request), daemon=True)
                back.start()
                _pass_on(self.request, server)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True
        block_on_close = False

    with Server(("127.0.0.1", 0), Connection) as server:
        proxy.port = server.server_address[1]
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()


def _pass_on(source: Any, target: Any) -> None:
    with suppress(OSError):
        while block := source.recv(BLOCK):
            target.sendall(block)
    for side in (source, target):
        with suppress(OSError):
            side.shutdown(socket.SHUT_RDWR)
