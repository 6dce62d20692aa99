"""The command line of the deployments: `python -m deployments deploy`."""

import argparse
import sys

from deployments.deploy import DeployError, deploy_all


def main() -> int:
    """Run one command.

    Returns:
        The exit status: 0, or 1 with the reason on the standard error.
    """
    parser = argparse.ArgumentParser(
        prog="python -m deployments", description="Manage the deployments of prefect.yaml."
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
    arguments = parser.parse_args()
    try:
        deployed = deploy_all(arguments.runs_at_once)
    except DeployError as error:
        print(error, file=sys.stderr)
        return 1
    for name, schedules in deployed:
        print(f"deployed {name}: {', '.join(schedules) or 'no schedule'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
