"""One run that a worker executes, and its process."""

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

from prefect.client.schemas.objects import FlowRun

from workers.configuration import Configuration
from workers.fork_client import ForkedProcess


@dataclass
class Execution:
    """One run that is executed.

    Attributes:
        flow_run: The run.
        configuration: How.
        folder: The run's own folder; everything in it is removed at the end.
        process: Its process, once there is one.
        is_handed_back: Whether its process is ended by the worker, which then sets the run's state: not a crash.
        cancellation: Held while it is being cancelled.
        started: Set when it has a process.
        settled: Set when a run whose process was ended by the worker has got its state.
        ended: Set when that process has ended, and the state of a run that crashed is set.
    """

    flow_run: FlowRun
    configuration: Configuration
    folder: Path
    process: ForkedProcess | None = None
    is_handed_back: bool = False
    cancellation: asyncio.Lock = field(default_factory=asyncio.Lock)
    started: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    settled: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait_for_process(self) -> None:
        """Wait until its process, if it has one, has ended."""
        if self.process is not None:
            await self.process.wait()

    @property
    def manifest(self) -> Path:
        """Where the run's process notes what it has prepared."""
        return self.folder / "manifest.json"

    @property
    def shareable(self) -> Path:
        """Where the run's process notes the entry point of a flow that can be imported before the fork."""
        return self.folder / "shareable"

    @property
    def directory(self) -> Path:
        """Where the run's process starts."""
        return self.configuration.working_dir or self.folder / "workspace"


class RunProcess:
    """A run's process as Prefect's runner sees it."""

    def __init__(self, execution: Execution, process: ForkedProcess) -> None:
        self._execution = execution
        self._process = process
        self.pid = process.pid

    @property
    def returncode(self) -> int | None:
        """Its exit status; 0 when the run was handed back, which leaves its state alone."""
        return 0 if self._execution.is_handed_back else self._process.returncode
