"""A private Redis server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.servers.process import ServerProcess, find_program, free_port, server_folder


class RedisServer(ServerProcess):
    """A Redis server that keeps everything in memory: a restart empties it."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        command = [find_program("redis-server", "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"]
        super().__init__(
            "Redis",
            [*command, "--dir", str(folder), "--save", "", "--appendonly", "no"],
            log=folder / "redis.log",
            is_ready=self._answers,
        )

    def url(self, database: int = 0) -> str:
        """Give the URL of one of its 16 numbered databases."""
        return f"redis://127.0.0.1:{self.port}/{database}"

    def _answers(self) -> bool:
        with redis.Redis(port=self.port) as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


@contextmanager
def redis_server() -> Iterator[RedisServer]:
    """Run a private Redis server in a temporary folder.

    Yields:
        The running server.
    """
    with server_folder("redis") as folder, RedisServer(folder) as server:
        yield server
