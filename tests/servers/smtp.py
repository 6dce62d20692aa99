"""A private mail server."""

import json
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.process import ServerProcess, free_port, server_folder

REPOSITORY = Path(__file__).resolve().parents[2]


class SmtpServer(ServerProcess):
    """A mail server in a process of its own (see `smtp_program` for how it treats whom)."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self.port = free_port()
        self.folder = folder
        super().__init__(
            "the mail server",
            [sys.executable, "-m", "tests.servers.smtp_program", str(self.port), str(folder), *options],
            log=folder / "smtp.log",
            is_ready=self._answers,
            environment={"PYTHONPATH": str(REPOSITORY)},
        )

    @property
    def url(self) -> str:
        """The address for `MAIL_URL`."""
        return f"smtp://127.0.0.1:{self.port}"

    def count_taken(self) -> int:
        """How many mails it has taken so far."""
        path = self.folder / "taken.jsonl"
        return path.read_bytes().count(b"\n") if path.exists() else 0

    def taken(self) -> list[dict[str, Any]]:
        """What it has taken so far: message_id, recipients, connection, tls, login, at."""
        path = self.folder / "taken.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def taken_by(self, recipient: str) -> list[dict[str, Any]]:
        """The mails that it has taken for a recipient."""
        return [mail for mail in self.taken() if recipient in mail["recipients"]]

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(3) == b"220"
        except OSError:
            return False


@contextmanager
def smtp_server(*options: str) -> Iterator[SmtpServer]:
    """Run a private mail server in a temporary folder.

    Args:
        options: `--login` to ask for account and password, the path of a certificate (`.pem`) to demand STARTTLS.

    Yields:
        The running server.
    """
    with server_folder("smtp") as folder, SmtpServer(folder, options) as server:
        yield server
