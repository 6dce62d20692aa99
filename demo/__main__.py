"""The command line: `python -m demo` demonstrates, `python -m demo up` and `down` start and stop a local system."""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import FrameType

from rich.console import Console

from demo.databases import prepare_embedded_databases
from demo.demonstration import DEPLOYMENT, Demonstration
from demo.local_system import LocalSystem, find_local_system, stop_local_system
from demo.sample_hris import HrisShape
from errors import SuiteError
from settings import Settings, get_settings, load_settings

# With fewer, chance may leave out accounts or assignments, and a source table without rows is refused.
FEWEST_PEOPLE = 100
DESCRIPTION = """\
Shows the suite at work, with nothing configured: writes a sample HRIS, starts a Prefect server and a worker
of its own, deploys prefect.yaml, and replicates the HRIS into an SQLite database, twice: the second run finds
nothing to write. Then sample attendance and meal requests are written, and every other job runs once.
Everything lies in the folder `demo` below DATA_DIR, everything that was started is stopped at the end, and no
configured database or server is touched.

`up` starts a Prefect server and a worker that stay, for the configured databases (by default embedded ones
with a sample HRIS); `down` stops them.
"""


def main() -> int:
    """Run one command.

    Returns:
        The exit status: 0; 1 with the reason on the terminal; 130 after Ctrl-C.
    """
    arguments = _parse_arguments()
    console = Console()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        settings = load_settings()
        if arguments.command == "up":
            start_local_system(console, settings)
        elif arguments.command == "down":
            stopped = stop_local_system(settings.data_dir)
            console.print(f"Stopped {' and '.join(stopped)}." if stopped else "Nothing was running.")
        else:
            demonstrate(console, settings, arguments.people, keep=arguments.keep)
    except SuiteError as error:
        Console(stderr=True).print(f"[bold red]Failed:[/] {type(error).__name__}:", end=" ")
        Console(stderr=True).print(str(error), markup=False, highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("Interrupted; everything that was started is stopped.")
        return 130
    return 0


def demonstrate(console: Console, settings: Settings, people: int, *, keep: bool) -> None:
    """Run the demonstration in its own folder.

    Args:
        console: The terminal.
        settings: The suite's settings, of which only the data folder counts.
        people: Rows in the sample HRIS's employee table.
        keep: Whether to leave server and worker running at the end until Ctrl-C.

    Raises:
        SuiteError: Something failed.
    """
    start = time.monotonic()
    folder = settings.data_dir / "demo"
    _replace_environment({**os.environ, **embedded_environment(folder)})
    get_settings.cache_clear()
    with LocalSystem(folder, stays=False) as system:
        _replace_environment(system.environment)
        Demonstration(console, system, HrisShape(people=people)).run()
        console.print(f"All runs succeeded; {time.monotonic() - start:.0f} s in all.")
        if keep:
            console.print(f"Server and worker go on running: {system.ui_url}. Ctrl-C stops them.")
            _wait_for_interrupt()
    console.print("Server and worker are stopped. `make up` starts ones that stay.")


def start_local_system(console: Console, settings: Settings) -> None:
    """Start a Prefect server and a worker that stay, and deploy.

    Args:
        console: The terminal.
        settings: The suite's settings.

    Raises:
        SuiteError: Something failed; what was started is stopped again.
    """
    if running := find_local_system(settings.data_dir):
        console.print(f"Already running: {running.ui_url}. `make down` stops it.")
        return
    for done in prepare_embedded_databases(settings):
        console.print(f"  {done}", highlight=False)
    with LocalSystem(settings.data_dir, stays=True, api_url=settings.prefect_api_url) as system:
        _replace_environment(system.environment)
        lost: list[str] = []
        with console.status("Starting"):
            system.start_server()
            # Imported here: it takes seconds, in which the server starts; and Prefect reads the environment on import.
            from demo.runs import crash_lost_runs
            from deployments.deploy import WORK_POOL, connect, deploy_all, ensure_work_pool

            system.wait_for_server()
            ensure_work_pool()
            if system.has_own_server:
                with connect() as client:
                    lost = crash_lost_runs(client, WORK_POOL)
            system.start_worker(WORK_POOL)
            deployed = deploy_all()
            system.wait_for_worker(WORK_POOL)
    if lost:
        console.print(f"  marked as crashed, lost when the system was stopped: {', '.join(lost)}", highlight=False)
    for name, schedules in deployed:
        console.print(f"  deployed {name}: {', '.join(schedules) or 'no schedule'}", highlight=False)
    console.print(f"Server and worker are running: {system.ui_url}. `make down` stops them. A run now:")
    # For one command: exported, it would have the next `make up` look for this server, which `make down` stopped.
    console.print(
        f"  PREFECT_API_URL={system.api_url} .venv/bin/prefect deployment run {DEPLOYMENT}",
        highlight=False,
        soft_wrap=True,
    )


def embedded_environment(folder: Path) -> dict[str, str]:
    """Give the variables that make the suite run with nothing configured, whatever the environment and `.env` say.

    Args:
        folder: The data folder.

    Returns:
        A value for every setting that has a default, and SQLite files below the folder as databases.
    """
    values = {
        name.upper(): field.get_default(call_default_factory=True) for name, field in Settings.model_fields.items()
    }
    defaults = {
        name: json.dumps(value) if isinstance(value, dict) else str(value)
        for name, value in values.items()
        if value is not None
    }
    databases = {
        "MARIA_DATABASE_URL": f"sqlite:///{folder}/app.sqlite3",
        "HRIS_DATABASE_URL": f"sqlite:///{folder}/hris.sqlite3",
        "BIOSTAR_DATABASE_URL": f"sqlite:///{folder}/biostar.sqlite3",
    }
    return defaults | databases | {"DATA_DIR": str(folder)}


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m demo", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=["up", "down"], help="leave it out for the demonstration")
    parser.add_argument(
        "--people",
        type=int,
        metavar="N",
        default=HrisShape().people,
        help="people in the sample HRIS (default: %(default)s)",
    )
    parser.add_argument("--keep", action="store_true", help="leave server and worker running at the end, until Ctrl-C")
    arguments = parser.parse_args()
    if arguments.people < FEWEST_PEOPLE:
        parser.error(f"--people {arguments.people}: the sample HRIS needs at least {FEWEST_PEOPLE} to show everything")
    return arguments


def _replace_environment(environment: Mapping[str, str]) -> None:
    """Make this process's environment, which Prefect and the settings read when first used, that of its children."""
    os.environ.clear()
    os.environ.update(environment)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _wait_for_interrupt() -> None:
    try:
        signal.pause()
    except KeyboardInterrupt:
        return


if __name__ == "__main__":
    sys.exit(main())
