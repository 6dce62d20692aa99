"""What the server does wrong when a test asks for it."""

import threading
from dataclasses import dataclass
from typing import Any, Literal

Event = Literal["login", "statement"]
Action = Literal["error", "drop", "stall"]


@dataclass
class Fault:
    """One misbehaviour.

    Attributes:
        on: What it waits for.
        action: `error` tells an error, `drop` ends the connection, `stall` says nothing for a while.
        matching: Text that the statement holds.
        at_row: After so many rows of the answer; None: before anything is answered.
        skip: How many such events pass first.
        times: How often it happens.
        number: SQL Server's number of the error.
        message: The error's text.
        severity: The error's; from 20 on the connection ends.
        seconds: How long it stalls before it goes on as if nothing had been.
    """

    on: Event
    action: Action
    matching: str = ""
    at_row: int | None = None
    skip: int = 0
    times: int = 1
    number: int = 0
    message: str = ""
    severity: int = 16
    seconds: float = 3600.0


class Faults:
    """The misbehaviours that are still to come; used by all sessions at once."""

    def __init__(self) -> None:
        self._waiting: list[Fault] = []
        self._lock = threading.Lock()

    def add(self, **wanted: Any) -> None:
        """Ask for one; see `Fault`."""
        with self._lock:
            self._waiting.append(Fault(**wanted))

    def clear(self) -> None:
        """Behave again."""
        with self._lock:
            self._waiting.clear()

    def take(self, event: Event, text: str = "") -> Fault | None:
        """Give the misbehaviour that is due, which counts as happened."""
        with self._lock:
            for fault in self._waiting:
                if fault.on != event or fault.matching not in text:
                    continue
                if fault.skip > 0:
                    fault.skip -= 1
                    continue
                fault.times -= 1
                if fault.times == 0:
                    self._waiting.remove(fault)
                return fault
        return None
