"""A private Redis server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import redis

from tests.servers.process import ServerProcess, find_program, free_port, server_folder


class RedisServer(ServerProcess):
    """A Redis server.

    Args:
        folder: Where its files go.
        is_durable: Whether it writes down each change before it answers; otherwise a restart empties it.
    """

    def __init__(self, folder: Path, *, is_durable: bool = False) -> None:
        self.port = free_port()
        command = [find_program("redis-server", "redis-server"), "--port", str(self.port), "--bind", "127.0.0.1"]
        persistence = ["--appendonly", "yes", "--appendfsync", "always"] if is_durable else ["--appendonly", "no"]
        super().__init__(
            "Redis",
            [*command, "--dir", str(folder), "--save", "", *persistence],
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
def redis_server(*, is_durable: bool = False) -> Iterator[RedisServer]:
    """Run a private Redis server in a temporary folder.

    Args:
        is_durable: Whether it writes down each change before it answers; otherwise a restart empties it.

    Yields:
        The running server.
    """
    with server_folder("redis") as folder, RedisServer(folder, is_durable=is_durable) as server:
        yield server
