"""Commands for the mails that were not delivered: `python -m hr.mail --help`."""

import argparse
import asyncio
import sys
from typing import get_args

from rich.console import Console
from rich.table import Table

from db.maria_database import DatabaseSessionLocal
from errors import SuiteError
from hr.mail import deliveries
from hr.mail.deliveries import State
from hr.mail.sending import Sending
from settings import get_settings

OK, FAILED = 0, 1


def main(arguments: list[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: The words after `python -m hr.mail`; default: those of the process.

    Returns:
        The exit status.
    """
    options = _make_parser().parse_args(arguments)
    try:
        status: int = asyncio.run(options.run(options))
    except SuiteError as error:
        sys.stderr.write(f"{type(error).__name__}: {error}\n")
        return FAILED
    return status


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m hr.mail", description="Mails that were not delivered.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    listing = commands.add_parser(
        "list",
        help="show mails in a state, those that changed last first",
        description="Show mails in a state: unknown (nobody knows whether the mail server took it), pending (not sent; "
        "a call may still be trying), refused, sending, sent.",
    )
    listing.add_argument("--state", choices=get_args(State), default="unknown", help="default: unknown")
    listing.add_argument("--limit", type=int, default=100, metavar="N", help="show at most N mails; default: 100")
    listing.set_defaults(run=_list)
    resend = commands.add_parser(
        "resend",
        help="send unknown or pending mails again, on purpose",
        description="Send mails again that are unknown or pending. A recipient may then get an unknown mail twice; it "
        "keeps its Message-ID. What was sent or refused is not sent again.",
        epilog="Exit status: 0 all were sent, 1 some were not.",
    )
    resend.add_argument("key", nargs="*", help="the mail's key, as `list` shows it: a Celery task id or flow run id")
    resend.add_argument("--all-unknown", action="store_true", help="all that are unknown")
    resend.set_defaults(run=_resend)
    return parser


async def _list(options: argparse.Namespace) -> int:
    async with DatabaseSessionLocal.begin() as session:
        await deliveries.give_up_lost(session)
        rows = await deliveries.list_in_state(session, options.state, options.limit)
    table = Table("key", "mail", "recipient", "since (UTC)", "attempts", "answer")
    for row in rows:
        since = f"{row.updated_at:%Y-%m-%d %H:%M:%S}"
        table.add_row(row.key, row.kind, row.recipient, since, str(row.attempts), row.answer or "")
    console = Console()
    if rows:
        console.print(table)
    console.print(f"{len(rows)} mails are {options.state}")
    return OK


async def _resend(options: argparse.Namespace) -> int:
    async with DatabaseSessionLocal.begin() as session:
        await deliveries.give_up_lost(session)
        keys = list(options.key)
        if options.all_unknown:
            keys += [row.key for row in await deliveries.list_in_state(session, "unknown", deliveries.KEYS_AT_ONCE)]
        notices = await deliveries.reopen(session, list(dict.fromkeys(keys)))
    ends: list[State] = []

    def tell(key: str, state: State, answer: str) -> None:
        ends.append(state)
        sys.stdout.write(f"{key}: {state}: {answer}\n")

    await Sending(DatabaseSessionLocal, get_settings(), notices, tell).run()
    sys.stdout.write(f"{ends.count('sent')} of {len(notices)} mails were sent\n")
    return OK if ends.count("sent") == len(notices) else FAILED


if __name__ == "__main__":
    sys.exit(main())
