"""Commands for the databases: `python -m db --help`."""

import argparse
import asyncio
import sys

from db import maria_database, migrate
from doctor import SYSTEMS
from errors import SuiteError

OK, FAILED, PENDING = 0, 1, 3
# Seconds that the doctor may be told to wait for a system.
LONGEST_CHECK = 600


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after `python -m db`; default: those of the process.

    Returns:
        The exit status.
    """
    options = _make_parser().parse_args(arguments)
    try:
        status: int = asyncio.run(options.run(options))
    except SuiteError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return FAILED
    return status


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m db", description="Commands for the suite's databases.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    migrate_parser = commands.add_parser(
        "migrate",
        help="bring the application database to the schema of this version",
        description="Bring the application database (MARIA_DATABASE_URL) to the schema of this version. In an empty "
        "database all tables are created. Where the web application's tables exist, they and their rows stay as they "
        "are; only what is missing is created. Running it again, or from several places at once, is safe.",
        epilog="Exit status: 0 up to date, 1 failed, 2 wrong usage, 3 --check found migrations to apply.",
    )
    migrate_parser.add_argument("--check", action="store_true", help="only tell what would be applied; change nothing")
    migrate_parser.set_defaults(run=_migrate)
    _add_doctor(commands)
    return parser


def _add_doctor(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    parser = commands.add_parser(
        "doctor",
        help="look at every system that the suite is connected to, and say what is wrong and what to do",
        description="Look at every configured system: whether it answers, how fast and in which version, whether the "
        "connection is encrypted, the account has the rights and the tables are as the suite needs them, and whether "
        "the clocks agree. Nothing is changed; in Redis a key is written and deleted. All are looked at at once.",
        epilog="Exit status: 0 all is well or only warned about, 1 something failed, 2 wrong usage.",
    )
    parser.add_argument(
        "systems", nargs="*", type=_system, metavar="SYSTEM", help=f"only these of: {', '.join(SYSTEMS)}"
    )
    parser.add_argument(
        "--timeout", type=_seconds, default=15.0, metavar="SECONDS", help="how long each system may take (default: 15)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON: status, and findings with what to do")
    parser.set_defaults(run=_doctor)


def _system(text: str) -> str:
    if text not in SYSTEMS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(SYSTEMS)}")
    return text


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 1 <= seconds <= LONGEST_CHECK:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds from 1 to {LONGEST_CHECK}")
    return seconds


async def _doctor(options: argparse.Namespace) -> int:
    # The doctor stands above this package; only its command is here, and it loads much.
    from doctor.command import diagnose

    return OK if await diagnose(options.systems, options.timeout, as_json=options.json) else FAILED


async def _migrate(options: argparse.Namespace) -> int:
    database = maria_database.database
    place = f"{database.name} {database.url.render_as_string(hide_password=True)}"
    steps = await (migrate.find_pending(database) if options.check else migrate.upgrade(database))
    for step in steps:
        print(f"{'to apply' if options.check else 'applied'}: {step}")
    if options.check and steps:
        print(f"{place} is not up to date: run `python -m db migrate`")
        return PENDING
    print(f"{place} is up to date")
    return OK


if __name__ == "__main__":
    sys.exit(main())
