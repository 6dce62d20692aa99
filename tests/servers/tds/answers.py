"""Answers that were given before, kept as they are sent: the server is then no slower than the network."""

import struct
import tempfile
import threading
from collections.abc import Hashable, Iterator
from pathlib import Path

_LENGTH = struct.Struct("<I")


class KeptAnswers:
    """Encoded answers by statement, in files that are removed with their folder.

    Args:
        folder: Where they are kept; None: nothing is kept.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._kept: dict[Hashable, tuple[Path, int]] = {}
        self._lock = threading.Lock()

    def find(self, key: Hashable) -> tuple[Path, int] | None:
        """Give the file and the number of rows of a statement's answer."""
        with self._lock:
            return self._kept.get(key)

    def recorder(self, key: Hashable) -> "Recorder":
        """Give what takes down the answer to a statement."""
        return Recorder(self, key, self._folder)

    def keep(self, key: Hashable, path: Path, rows: int) -> None:
        """Keep a finished answer."""
        with self._lock:
            self._kept[key] = path, rows


class Recorder:
    """Takes down one answer while it is sent."""

    def __init__(self, answers: KeptAnswers, key: Hashable, folder: Path | None) -> None:
        self._answers, self._key = answers, key
        self._file = None if folder is None else tempfile.NamedTemporaryFile(dir=folder, delete=False)  # noqa: SIM115

    def write(self, data: bytes) -> None:
        """Take down a piece; pieces stay whole."""
        if self._file is not None:
            self._file.write(_LENGTH.pack(len(data)) + data)

    def finish(self, rows: int) -> None:
        """Keep the answer."""
        if self._file is not None:
            self._file.close()
            self._answers.keep(self._key, Path(self._file.name), rows)


def read_pieces(path: Path) -> Iterator[bytes]:
    """Give the pieces of a file, one after another."""
    with path.open("rb") as file:
        while head := file.read(_LENGTH.size):
            yield file.read(_LENGTH.unpack(head)[0])
