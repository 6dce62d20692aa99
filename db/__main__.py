"""Commands for the databases: `python -m db --help`."""

import argparse
import asyncio
import sys

from db import maria_database, migrate
from errors import SuiteError

OK, FAILED, PENDING = 0, 1, 3


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
    return parser


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
