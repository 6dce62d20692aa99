"""The command that runs the experiment."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.chaos.experiment import NIGHTLY, SHORT, USUAL, Report, run_experiment

SIZES = {"short": SHORT, "usual": USUAL, "nightly": NIGHTLY}

DESCRIPTION = (
    "Send calls of a task that adds one row to a whole system (Celery worker, two machines with a Prefect worker each, "
    "Redis, Prefect server, MariaDB) while its parts are killed with -9 at random and started again. At the end each "
    "call must have one row, one run, one execution and one answer."
)


def main() -> int:
    """Run the experiment and show what became of the calls; 1 if one was lost, doubled or left without an end."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.chaos",
        description=DESCRIPTION,
        epilog="Sizes: "
        + "; ".join(f"{name}: {size.calls} calls within {size.seconds:g} s" for name, size in SIZES.items()),
    )
    parser.add_argument("--size", choices=SIZES, default="usual", help="how many calls (default: usual)")
    parser.add_argument("--seed", type=int, default=None, help="of the random faults (default: the clock)")
    parser.add_argument("--keep", type=Path, default=None, help="an existing folder for the logs, which then stay")
    arguments = parser.parse_args()
    seed = arguments.seed if arguments.seed is not None else time.time_ns() % 1_000_000
    console = Console(highlight=False)
    console.print(f"seed {seed}")
    began = time.monotonic()

    def tell(line: str) -> None:
        console.print(f"{time.monotonic() - began:6.1f} s  {line}")

    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        report = run_experiment(SIZES[arguments.size], seed, arguments.keep or Path(folder), tell)
    show(console, report)
    return 1 if report.problems else 0


def show(console: Console, report: Report) -> None:
    """Show the count of each fault, and what should not be."""
    table = Table("killed with -9", "times")
    for kind, times in sorted(report.faults.items()):
        table.add_row(kind, str(times))
    console.print(table)
    console.print(f"{report.calls} calls, {report.attempts} attempts, {report.seconds:.0f} s")
    for problem in report.problems:
        console.print(f"- {problem}")
    if not report.problems:
        console.print("Each call has one row, one run, one execution and one answer.")


if __name__ == "__main__":
    sys.exit(main())
