"""`python -m bench replication [--json] [--quick]`: measure, and print a table or one JSON object."""

import argparse
import json
import sys
from importlib import import_module

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
    parser.add_argument("what", choices=["attendance", "burst", "replication", "schedule", "shim", "source", "start"])
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument(
        "--quick", action="store_true", help="smaller sizes, within a minute; the ratios are then rough"
    )
    parser.add_argument("--url", help="for source: the SQL Server to read, instead of the tests' TDS endpoint")
    arguments = parser.parse_args()
    console = Console(stderr=True)
    try:
        outcome, goals = _measure(arguments.what, quick=arguments.quick, url=arguments.url, tell=console.print)
    except SuiteError as error:
        console.print(f"[red]{error}")
        return 1
    if arguments.json:
        print(json.dumps(outcome.ratios | outcome.raw, indent=2))
    else:
        _print_table(outcome, goals)
    return 0


def _measure(what: str, *, quick: bool, url: str | None, tell: Tell) -> tuple[Outcome, dict[str, Goal]]:
    if what == "replication":
        return measure_replication(QUICK if quick else FULL, tell=tell), GOALS
    # These need the test environment, where the replication's peers need one of their own.
    module = import_module(f"bench.{what}")
    options = {"url": url} if what == "source" else {}
    outcome = getattr(module, f"measure_{what}")(quick=quick, tell=tell, **options)
    return outcome, module.GOALS


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
