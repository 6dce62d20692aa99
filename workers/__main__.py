"""`python -m workers --pool hr …`: `prefect worker start --type hr-process …` from a checkout that is not installed."""

import sys

from prefect.cli import app

# Makes Prefect know the worker's type; an installed suite does so by its entry point.
from workers.worker import WarmWorker


def main() -> None:
    """Start a worker; the arguments are those of `prefect worker start`."""
    sys.argv = ["prefect", "worker", "start", "--type", WarmWorker.type, *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
