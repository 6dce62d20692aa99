"""A private SQL Server for tests and benchmarks, in a process of its own."""

import json
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import trustme

from tests.servers.process import ServerProcess, free_port, server_folder
from tests.servers.tds.catalog import SUFFIX, quote
from tests.servers.tds.faults import Action, Event

REPOSITORY = Path(__file__).resolve().parents[3]
USER, PASSWORD = "hr_reader", "p@ss;w=/rd%1"


class TdsServer(ServerProcess):
    """The endpoint: databases in a folder, one account, everything that goes wrong on command.

    Who trusts the certificate authority in the file `authority` trusts the server, as `localhost` and as `127.0.0.1`.

    Args:
        folder: Where its files are.
        options: More options of `program`.
    """

    def __init__(self, folder: Path, *options: str) -> None:
        self.port, self._control_port = free_port(), free_port()
        self.folder = folder / "databases"
        self.folder.mkdir()
        self.user, self.password = USER, PASSWORD
        self.authority = folder / "authority.pem"
        certificate = folder / "certificate.pem"
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(self.authority))
        authority.issue_cert("localhost", "127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(certificate))
        self.create_database("master")
        super().__init__(
            "the TDS endpoint",
            [
                *(sys.executable, "-m", "tests.servers.tds.program"),
                *(str(self.port), str(self._control_port), str(self.folder)),
                *("--account", USER, PASSWORD, "--certificate", str(certificate)),
                *options,
            ],
            log=folder / "tds.log",
            is_ready=self._answers,
            environment={"PYTHONPATH": str(REPOSITORY)},
        )

    def create_database(self, name: str) -> Path:
        """Make an empty database; gives its SQLite file."""
        path = self.folder / f"{name}{SUFFIX}"
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("VACUUM")
        return path

    def serve_file(self, name: str, file: Path, schemas: dict[str, str] | None = None) -> Path:
        """Serve a copy of an SQLite file as a database.

        Args:
            name: The database's name; one of that name is replaced.
            file: What to copy.
            schemas: Schemas other than `dbo`, by table.

        Returns:
            The copy.
        """
        path = self.folder / f"{name}{SUFFIX}"
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
            for table, schema in (schemas or {}).items():
                target.execute(f"ALTER TABLE {quote(table)} RENAME TO {quote(f'{schema}.{table}')}")
            target.commit()
        return path

    def misbehave(
        self,
        on: Event,
        action: Action,
        *,
        matching: str = "",
        at_row: int | None = None,
        skip: int = 0,
        times: int = 1,
        **details: Any,
    ) -> None:
        """Ask for something to go wrong; see `faults.Fault`.

        Args:
            on: `login` or `statement`.
            action: `error`, `drop` or `stall`.
            matching: Text that the statement holds.
            at_row: After so many rows; None: before anything is answered.
            skip: How many such events pass first.
            times: How often.
            details: `number`, `message` and `severity` of an error, `seconds` of a stall.
        """
        self._ask(
            "misbehave", on=on, action=action, matching=matching, at_row=at_row, skip=skip, times=times, **details
        )

    def behave(self) -> None:
        """Take back what has not gone wrong yet."""
        self._ask("behave")

    def statements(self) -> list[str]:
        """Give the statements that it was sent so far."""
        found: list[str] = self._ask("statements")
        return found

    def close_idle(self) -> int:
        """End the connections on which nothing is under way; gives how many these were."""
        return int(self._ask("close", only_idle=True))

    def close_all(self) -> int:
        """End all connections, whatever is under way; gives how many these were."""
        return int(self._ask("close", only_idle=False))

    def sessions(self) -> list[dict[str, Any]]:
        """Give who is connected: database, application, encrypted, read_only_intent."""
        found: list[dict[str, Any]] = self._ask("sessions")
        return found

    def _ask(self, name: str, **arguments: Any) -> Any:
        with socket.create_connection(("127.0.0.1", self._control_port), timeout=30) as connection:
            connection.sendall(json.dumps({"do": name, **arguments}).encode() + b"\n")
            with connection.makefile() as answer:
                return json.loads(answer.readline())

    def _answers(self) -> bool:
        try:
            return self.sessions() == []
        except OSError:
            return False


@contextmanager
def tds_server(*options: str) -> Iterator[TdsServer]:
    """Run a private SQL Server in a temporary folder.

    Args:
        options: `--require-encryption` turns away who does not encrypt; `--keep-answers FOLDER` sends an answer that
            was given before from a file, as fast as the network takes it.

    Yields:
        The running server.
    """
    with server_folder("tds") as folder, TdsServer(folder, *options) as server:
        yield server
