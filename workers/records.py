"""Which runs a worker has, written where they outlive it: another worker on the machine brings them to an end.

A record is a file that its worker holds locked. The kernel gives the lock back when the worker dies, however it dies,
so a record that can be locked belongs to nobody. It is written before the worker takes the run, and names the run's
process before that process may do anything.
"""

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
from prefect.settings import get_current_settings

# The kernel counts process starts in hundredths of a second.
CLOCK_TOLERANCE = 0.05
RECORD_BYTES = 1000


@dataclass
class Record:
    """One run of this machine, held by this worker.

    Attributes:
        flow_run_id: The run.
        path: The file.
        descriptor: The open, locked file.
    """

    flow_run_id: UUID
    path: Path
    descriptor: int

    @property
    def token(self) -> str | None:
        """The token of the run's lease."""
        token: str | None = self._read().get("token")
        return token

    def note_token(self, token: str) -> None:
        """Note the token of the run's lease."""
        self._write({**self._read(), "token": token})

    def note_process(self, pid: int) -> None:
        """Note the run's process.

        Args:
            pid: Its process id.
        """
        with suppress(psutil.NoSuchProcess):
            self._write({**self._read(), "pid": pid, "started": psutil.Process(pid).create_time()})

    def find_process(self) -> psutil.Process | None:
        """Give the run's process if it still runs."""
        noted = self._read()
        try:
            process = psutil.Process(noted["pid"])
            is_same = abs(process.create_time() - noted["started"]) < CLOCK_TOLERANCE
            return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None
        except (KeyError, psutil.NoSuchProcess):
            return None

    def _read(self) -> dict[str, Any]:
        try:
            noted: dict[str, Any] = json.loads(os.pread(self.descriptor, RECORD_BYTES, 0))
        except json.JSONDecodeError:
            # Nothing yet, or its worker died while it wrote.
            return {}
        return noted

    def _write(self, noted: dict[str, Any]) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(noted).encode(), 0)

    def close(self) -> None:
        """Remove the record: the run has come to an end, or was never taken."""
        self.path.unlink(missing_ok=True)
        os.close(self.descriptor)


class Records:
    """The records of a work pool on this machine.

    Args:
        folder: Where they are; made if it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._held: dict[UUID, Record] = {}
        self._left: set[UUID] = set()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def hold(self, flow_run_id: UUID) -> Record | None:
        """Make a run this worker's.

        Args:
            flow_run_id: The run.

        Returns:
            Its record, or None if it is held already.
        """
        record = _lock(self._folder / f"{flow_run_id}.json")
        if record is not None:
            self._held[flow_run_id] = record
        return record

    def find(self, flow_run_id: UUID) -> Record | None:
        """Give a record that this worker holds."""
        return self._held.get(flow_run_id)

    def release(self, flow_run_id: UUID) -> bool:
        """Remove a run's record, if this worker holds it and does not leave it to another one.

        Args:
            flow_run_id: The run.

        Returns:
            Whether it was removed.
        """
        record = None if flow_run_id in self._left else self._held.pop(flow_run_id, None)
        if record is not None:
            record.close()
        return record is not None

    def leave(self, flow_run_id: UUID) -> None:
        """Keep a record although its run is over here: another worker will bring the run to an end."""
        self._left.add(flow_run_id)

    def take_over(self) -> Iterator[Record]:
        """Take the records that belong to nobody.

        Yields:
            Records of runs whose worker has died; they are this worker's now.
        """
        for path in sorted(self._folder.glob("*.json")):
            with suppress(ValueError):
                flow_run_id = UUID(path.stem)
                if flow_run_id not in self._held and (record := _lock(path, make=False)) is not None:
                    self._held[flow_run_id] = record
                    yield record

    def abandon(self) -> None:
        """Close all records and leave them to another worker."""
        for record in self._held.values():
            os.close(record.descriptor)
        self._held.clear()


def find_folder(work_pool: str) -> Path:
    """Give the folder of a work pool's records: below Prefect's home, one for each server and pool.

    Args:
        work_pool: The work pool.
    """
    settings = get_current_settings()
    return settings.home / "hr-worker" / sha256(f"{settings.api.url} {work_pool}".encode()).hexdigest()[:16]


def _lock(path: Path, *, make: bool = True) -> Record | None:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if make else 0), 0o600)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        # Whoever held it may have removed it in the meantime: then this is a file without a name.
        if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
            return Record(UUID(path.stem), path, descriptor)
        os.close(descriptor)
