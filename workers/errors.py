"""What can go wrong with the worker itself."""

from errors import SuiteError


class WorkerError(SuiteError):
    """Base of the worker's errors."""


class ForkServerLost(WorkerError):
    """The process from which runs are forked did not start, or ended before it had forked a run."""


class WorkPoolUnfit(WorkerError):
    """The work pool is of a type whose runs this worker cannot execute."""


class WorkerRefused(WorkerError):
    """The Prefect server does not let this worker in."""


class WorkerNameTaken(WorkerError):
    """A worker of that name serves the same work pool on this machine."""
