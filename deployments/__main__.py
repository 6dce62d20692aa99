"""The command line of the deployments: `python -m deployments deploy`, `python -m deployments sync`."""

import argparse
import asyncio
import sys

from rich.console import Console

from deployments.deploy import deploy_all, find_differences
from deployments.sync import SyncReport, sync_schedules
from deployments.sync_table import print_report
from errors import SuiteError

# The exit status of a sync that could not take every row; 1 is for one that changed nothing.
ROWS_REFUSED = 3


def main() -> int:
    """Run one command.

    Returns:
        The exit status: 0; 1 with the reason on the standard error; 3 when `sync` refused rows and took the others.
    """
    arguments = _parse_arguments()
    try:
        if arguments.command == "sync":
            return _sync(dry_run=arguments.dry_run)
        return _check() if arguments.check else _deploy(arguments.runs_at_once)
    except SuiteError as error:
        print(error, file=sys.stderr)
        return 1


def _deploy(runs_at_once: int | None) -> int:
    for name, schedules in deploy_all(runs_at_once):
        print(f"deployed {name}: {', '.join(schedules) or 'no schedule'}")
    return 0


def _check() -> int:
    differences = asyncio.run(find_differences())
    for difference in differences:
        print(difference, file=sys.stderr)
    print(f"{len(differences)} differences from prefect.yaml" if differences else "as prefect.yaml says")
    return 1 if differences else 0


def _sync(*, dry_run: bool) -> int:
    report: SyncReport = asyncio.run(sync_schedules(dry_run=dry_run))
    print_report(Console(), report, dry_run=dry_run)
    for step in report.refused:
        print(f"scheduled_job {step.job_id} ({step.deployment}): {step.told}", file=sys.stderr)
    for failure in report.failed:
        print(failure, file=sys.stderr)
    return 0 if report.is_clean else ROWS_REFUSED


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m deployments", description="Manage the deployments of prefect.yaml and their schedules."
    )
    commands = parser.add_subparsers(dest="command", required=True)
    deploy = commands.add_parser(
        "deploy",
        help="bring the Prefect server to what prefect.yaml says",
        description="Create or update the work pool and all deployments of prefect.yaml on the server that "
        "PREFECT_API_URL names. Doing it again changes nothing.",
    )
    deploy.add_argument(
        "--runs-at-once",
        type=int,
        metavar="N",
        help="how many runs the work pool lets run at the same time (default: 3 for a new pool, else as it is)",
    )
    deploy.add_argument(
        "--check", action="store_true", help="only say where the server differs; exit status 1 if it does"
    )
    sync = commands.add_parser(
        "sync",
        help="make the schedules those of the rows of scheduled_job",
        description="Create, change, pause and remove schedules so that they are those of the rows of scheduled_job. "
        "Schedules that were added by hand are left alone. Exit status 3: some rows were refused, they are named; "
        "1: nothing was changed.",
    )
    sync.add_argument("--dry-run", action="store_true", help="show what would change, and change nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
