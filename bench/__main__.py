"""`python -m bench replication [--json] [--quick]`: measure, and print a table or one JSON object."""

import argparse
import json
import sys

from rich.console import Console
from rich.table import Table

from bench.replication import FULL, GOALS, QUICK, Goal, Outcome, Tell, measure_replication
from errors import SuiteError


def main() -> int:
    """Run what the command line asks for.

    Returns:
        The exit status: 0, or 1 when a measurement failed. A missed goal is a result, not a failure.
    """
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the suite on private servers.")
    parser.add_argument("what", choices=["attendance", "burst", "replication", "schedule", "shim", "start"])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes, within a minute; the ratios are then rough"
    )
    arguments = parser.parse_args()
    console = Console(stderr=True)
    try:
        outcome, goals = _measure(arguments.what, quick=arguments.quick, tell=console.print)
    except SuiteError as error:
        console.print(f"[red]{error}")
        return 1
    if arguments.json:
        print(json.dumps(outcome.ratios | outcome.raw, indent=2))
    else:
        _print_table(outcome, goals)
    return 0


def _measure(what: str, *, quick: bool, tell: Tell) -> tuple[Outcome, dict[str, Goal]]:
    if what == "attendance":
        from bench import attendance

        return attendance.measure_attendance(quick=quick, tell=tell), attendance.GOALS
    if what == "burst":
        from bench import burst

        return burst.measure_burst(quick=quick, tell=tell), burst.GOALS
    if what == "schedule":
        from bench import schedule

        return schedule.measure_schedule(quick=quick, tell=tell), schedule.GOALS
    if what == "shim":
        # Needs the test environment, where the other benchmark needs one of its own.
        from bench import shim

        return shim.measure_shim(quick=quick, tell=tell), shim.GOALS
    if what == "start":
        from bench import start

        return start.measure_start(quick=quick, tell=tell), start.GOALS
    return measure_replication(QUICK if quick else FULL, tell=tell), GOALS


def _print_table(outcome: Outcome, goals: dict[str, Goal]) -> None:
    table = Table("ratio", "measured", "goal", "")
    for name, goal in goals.items():
        value = outcome.ratios[name]
        table.add_row(name, f"{value:,.3g}", f"{goal.sign} {goal.limit:g}", "met" if goal.is_met(value) else "missed")
    console = Console()
    console.print(table)
    for name, figure in outcome.raw.items():
        console.print(f"{name}: {figure}")


if __name__ == "__main__":
    sys.exit(main())
