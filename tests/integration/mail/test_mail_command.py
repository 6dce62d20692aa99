"""`python -m hr.mail`: what an administrator sees of undelivered mails, and sends again on purpose."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from db.engines import Database
from db.maria_database import DatabaseSessionLocal
from hr.mail.notices import notification
from hr.mail.sending import Sending
from settings import get_settings
from tests.integration.mail.system import REPOSITORY
from tests.servers import SmtpServer, smtp_server


@pytest.fixture(scope="module")
def mail_server() -> Iterator[SmtpServer]:
    with smtp_server() as server:
        yield server


async def command(*words: str) -> tuple[int, str, str]:
    """Run the command in a process of its own."""
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "hr.mail", *words],
        cwd=REPOSITORY,
        env={**os.environ, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


async def test_unknown_mails_are_listed_and_sent_again_on_purpose_with_their_message_id(
    app_database: Database, mail_server: SmtpServer, settings_environment: Callable[..., None]
) -> None:
    settings_environment(MAIL_URL=mail_server.url)
    # The mail server is the module's: what it took in another test must not count.
    lost, fine = (f"{name}.{uuid4().hex}@example.org" for name in ("lost", "fine"))
    notices = {"lost": notification(7, 3, lost), "fine": notification(7, 3, fine)}
    await Sending(DatabaseSessionLocal, get_settings(), notices, lambda *_: None).run()

    status, out, _ = await command("list")
    assert status == 0
    assert lost in out
    assert fine not in out
    assert "1 mails are unknown" in out
    assert fine in (await command("list", "--state", "sent"))[1]

    status, out, _ = await command("resend", "lost")
    # The mail server loses this one every time.
    assert (status, "lost: unknown: " in out) == (1, True)
    assert len({mail["message_id"] for mail in mail_server.taken_by(lost)}) == 1
    assert len(mail_server.taken_by(lost)) == 2

    settings_environment(MAIL_URL="")
    status, out, _ = await command("resend", "--all-unknown")
    assert (status, "1 of 1 mails were sent" in out) == (0, True)
    assert "0 mails are unknown" in (await command("list"))[1]


async def test_what_was_sent_or_is_not_remembered_is_not_sent_again(
    app_database: Database, settings_environment: Callable[..., None]
) -> None:
    notices = {"sent": notification(7, 3, "sara@example.org")}
    await Sending(DatabaseSessionLocal, get_settings(), notices, lambda *_: None).run()
    status, out, err = await command("resend", "sent", "nobody's")
    assert (status, out) == (1, "")
    assert "'sent' is sent, \"nobody's\" is not remembered" in err
    assert "Traceback" not in err
